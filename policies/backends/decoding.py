"""Decoding under a grammar: which tokens may come next, each row's own noise, and when a row has ended.

Samples come from each request's own seed by the Gumbel-max trick (Maddison et al., 2014): the argmax of logits plus
Gumbel noise is a sample of the softmax.
"""

from collections.abc import Sequence

import numpy as np
import torch
import xgrammar


class GumbelNoise:
    """Adds each row's own Gumbel noise, so that greedy decoding samples at its temperature; none where that is 0.

    On a CPU the stream is numpy's, elsewhere the device's own: a sampled answer depends on the kind of device.
    """

    def __init__(self, seeds: Sequence[int], temperatures: Sequence[float], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        precise = torch.float64 if self.device.type == "cpu" else torch.float32  # Apple's GPUs know no other
        self.temperatures = torch.tensor(temperatures, dtype=precise, device=self.device)[:, None]
        self.rngs = {row: self._rng(seeds[row]) for row in np.flatnonzero(temperatures).tolist()}

    def _rng(self, seed: int) -> np.random.Generator | torch.Generator:
        if self.device.type == "cpu":
            return np.random.default_rng(seed)
        return torch.Generator(self.device).manual_seed(seed)

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) logits -> the same, with noise."""
        drawn = self._drawn(scores)  # minus the logarithm of what is drawn from an exponential is Gumbel noise
        return scores - (self.temperatures.to(drawn) * drawn.log()).to(scores)

    def _drawn(self, scores: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cpu":
            drawn = np.ones(scores.shape)
            for row, rng in self.rngs.items():
                rng.standard_exponential(out=drawn[row])
            return torch.from_numpy(drawn)
        drawn = torch.ones(scores.shape, device=self.device)
        for row, rng in self.rngs.items():
            drawn[row].exponential_(generator=rng)
        return drawn.clamp(min=torch.finfo(drawn.dtype).tiny)


class Constraint:
    """A grammar's state in each of `n` rows. A row ends as soon as its grammar allows nothing but the end of the text:
    the model is not asked for an end token that is certain."""

    def __init__(self, grammar: xgrammar.CompiledGrammar, n: int, device: torch.device | str = "cpu"):
        self.matchers = [xgrammar.GrammarMatcher(grammar) for _ in range(n)]
        self.mask = xgrammar.allocate_token_bitmask(n, grammar.tokenizer_info.vocab_size)
        self.ended = torch.zeros(n, dtype=torch.bool)
        self._device, self._batch = torch.device(device), xgrammar.BatchGrammarMatcher(max_threads=1)
        self._batch.batch_fill_next_token_bitmask(self.matchers, self.mask)
        stops = np.zeros(32 * self.mask.shape[1], bool)
        stops[self.matchers[0].stop_token_ids] = True
        self._stops = torch.from_numpy(np.packbits(stops, bitorder="little").view(np.int32))

    def masked(self, scores: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) logits, those of forbidden tokens -inf, in place."""
        xgrammar.apply_token_bitmask_inplace(scores, self.mask.to(self._device))
        return scores

    def accept(self, tokens: Sequence[int]) -> bool:
        """Advance each row that has not ended by its token; whether all have ended."""
        rows = torch.nonzero(~self.ended)[:, 0].tolist()
        matchers = [self.matchers[row] for row in rows]
        accepted = self._batch.batch_accept_token(matchers, [tokens[row] for row in rows])
        if not all(accepted):
            token = tokens[rows[accepted.index(False)]]
            raise RuntimeError(f"token {token} was said, which the grammar does not allow")
        going = [row for row in rows if not self.matchers[row].is_terminated()]
        if going:
            self._batch.batch_fill_next_token_bitmask([self.matchers[row] for row in going], self.mask, going)
        stopped = zip(going, self._only_stops(going), strict=True)
        ended = [only_stops and self.matchers[row].is_completed() for row, only_stops in stopped]
        self.ended = torch.ones_like(self.ended)
        self.ended[going] = torch.tensor(ended, dtype=torch.bool)
        return bool(self.ended.all())

    def _only_stops(self, rows: Sequence[int]) -> list[bool]:
        return (~(self.mask[rows] & ~self._stops).any(dim=1)).tolist()


class FormMass(Constraint):
    """A constraint that measures how much it constrains.

    log_mass: (n,), for each row the sum, over the tokens of its answer, of the log-probability of all allowed tokens.
    """

    def __init__(self, grammar: xgrammar.CompiledGrammar, n: int, device: torch.device | str = "cpu"):
        super().__init__(grammar, n, device)
        self.log_mass = torch.zeros(n)

    def masked(self, scores: torch.Tensor) -> torch.Tensor:
        of_all = scores.logsumexp(dim=1)
        masked = super().masked(scores)
        self.log_mass += (masked.logsumexp(dim=1) - of_all).cpu().where(~self.ended, 0.0)
        return masked
