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
        self.temperatures = torch.tensor(temperatures, dtype=torch.float64, device=self.device)[:, None]
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
        for row, fine in zip(rows, accepted, strict=True):
            if not fine:
                raise RuntimeError(f"token {tokens[row]} was said, which the grammar does not allow")
        going = [(row, matcher) for row, matcher in zip(rows, matchers, strict=True) if not matcher.is_terminated()]
        if going:
            indices = [row for row, _ in going]
            self._batch.batch_fill_next_token_bitmask([matcher for _, matcher in going], self.mask, indices)
        for row, matcher in zip(rows, matchers, strict=True):
            self.ended[row] = matcher.is_terminated() or (matcher.is_completed() and self._only_stops(row))
        return bool(self.ended.all())

    def _only_stops(self, row: int) -> bool:
        return not (self.mask[row] & ~self._stops).any()
