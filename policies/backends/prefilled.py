"""Prompts that a model has read into a KV cache, for several answers and continuations."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from envs.errors import UserError
from policies.backend import Request
from policies.backends.decoding import Constraint, FormMass, GumbelNoise
from policies.backends.inputs import Rows, T, padded
from policies.prompt import Message

if TYPE_CHECKING:
    from policies.backends.huggingface import HFBackend


@dataclass(frozen=True)
class Block:
    """Prompts of one padded length, numbered by `rows`; ids, mask (rows, n), positions (p, rows, n).

    `cache` holds all but their last `unread` tokens, which are at least those of the template.
    """

    rows: Sequence[int]
    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    cache: DynamicCache
    unread: int

    def picked(self, places: Sequence[int], rows: Sequence[int]) -> "Block":
        """The prompts at `places`, any of them several times, with a cache of its own; `rows` are their new numbers."""
        cache, index = copy(self.cache), torch.tensor(places)
        cache.layers = [_copied(layer) for layer in cache.layers]
        cache.reorder_cache(index)  # new tensors, in place of those that were shared
        return Block(rows, self.ids[index], self.mask[index], self.positions[:, index], cache, self.unread)

    def next_positions(self, n: int, end: int | None = None) -> torch.Tensor:
        """(p, rows, n): of the next tokens after those up to `end`. Text counts on from the last in all dimensions."""
        last = self.positions[..., :end][..., -1:].max(dim=0, keepdim=True).values
        return last.expand(len(self.positions), -1, -1) + 1 + torch.arange(n)

    @property
    def gapless(self) -> bool:
        """Recurrent layers read padding as text, sliding ones count it in their window: none inside a prompt."""
        return any(
            isinstance(layer, LinearAttentionCacheLayerMixin) or getattr(layer, "is_sliding", False)
            for layer in self.cache.layers
        )


def _copied(layer: Any) -> Any:
    """A cache layer that shares its tensors; recurrent layers keep theirs in dicts."""
    new = copy(layer)
    for name, value in vars(new).items():
        if isinstance(value, dict):
            setattr(new, name, dict(value))
    return new


class Branches:
    """The distinct beginnings of answers to the prompts of a block. Each is one row of the KV cache: answers to one
    prompt share their row until they differ, and answers that have ended have none.

    Where the number of rows decides a result's last bits, each answer has a row of its own from first to last.
    """

    def __init__(self, block: Block, places: Sequence[int], rows: Rows):
        """places: of each answer's prompt in the block, which is left as it is."""
        self._rows, self._said = rows, 0
        kept = rows.filled(self._distinct(places, [False] * len(places)))
        self._block = block.picked(kept, kept)
        self._ids = self._block.ids[:, -block.unread :]

    def next_inputs(self) -> tuple[torch.Tensor, torch.Tensor, DynamicCache, dict[str, torch.Tensor]]:
        """What `HFBackend.forward` takes: the tokens of each beginning that are not in the cache."""
        block, n = self._block, self._said
        positions = block.next_positions(1) + n - 1 if n else block.positions[..., -block.unread :]
        return self._ids, positions, block.cache, {"attention_mask": pad(block.mask, (0, n), value=1)}

    def of_answers(self, scores: torch.Tensor) -> torch.Tensor:
        """(beginnings, vocabulary) -> (answers, vocabulary); of an answer that has ended, any."""
        return scores[self._of_answer] if self._rows.elastic else scores

    def grow(self, tokens: Sequence[int], ended: Sequence[bool]) -> None:
        """tokens: the next of each answer. ended: whether it is the last."""
        kept = self._distinct(list(zip(self._of_answer, tokens, strict=True)), ended)
        owners, tokens = zip(*self._rows.filled(kept), strict=True)
        stay = owners[: len(kept)] == tuple(range(len(kept)))  # what rows beyond these hold does not matter
        if not stay or len(owners) != len(self._ids):
            self._block = self._block.picked(owners, owners)
        self._ids, self._said = torch.tensor(tokens)[:, None], self._said + 1

    def _distinct(self, beginnings: Sequence[T], ended: Sequence[bool]) -> list[T]:
        """The beginnings that get a row; keeps which row is each answer's."""
        if not self._rows.elastic:
            self._of_answer = list(range(len(beginnings)))
            return list(beginnings)
        kept = list(dict.fromkeys(b for b, over in zip(beginnings, ended, strict=True) if not over))
        row = {beginning: i for i, beginning in enumerate(kept)}
        self._of_answer = [row.get(beginning, 0) for beginning in beginnings]
        return kept


class _Tail(NamedTuple):
    """What a longer prompt adds to the words of its owner, a row that was read. tokens: None, where its own tokens do
    not begin with the owner's. unread: how many of them the template puts after its words, at least 1."""

    owner: int
    tokens: list[int] | None
    unread: int


class HFPrefilledBatch:
    """Prompts that a model has read into a KV cache, with their frames.

    An answer to one depends on nothing else in the batch; the last bits of its odds do.
    """

    def __init__(
        self, backend: "HFBackend", requests: Sequence[Request], texts: Sequence[str], blocks: Sequence[Block]
    ):
        """texts: the rendered prompts."""
        self.digits = backend.digits
        self._backend, self._requests, self._texts, self._blocks = backend, requests, texts, blocks

    @torch.inference_mode()
    def generate(self, regex: str, temperatures: Sequence[float], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        """For each prompt one answer for each temperature, with the prompt's own seeds."""
        n, grammar = len(temperatures), self._backend.grammar(regex)
        answers = [""] * (len(self._requests) * n)
        for block in self._blocks:
            every = [(place, k) for place in range(len(block.rows)) for k in range(n)]
            warm = [temperatures[k] for _, k in every]
            drawn = [seeds[block.rows[place]][k] for place, k in every]
            noise = GumbelNoise(drawn, warm, self._backend.device) if any(warm) else None
            constraint = Constraint(grammar, len(every), self._backend.device)
            tokens = self._decode(block, [place for place, _ in every], constraint, noise)
            for (place, k), text in zip(every, self._backend.texts(tokens), strict=True):
                answers[block.rows[place] * n + k] = text
        return [answers[i : i + n] for i in range(0, len(answers), n)]

    def _filled(self, block: Block, rows: int = 1) -> Block:
        """A copy of the block with enough rows for a pass of one token, and with at least `rows`."""
        places = self._backend.rows.filled(range(len(block.rows)))
        places += places[-1:] * (rows - len(places))
        return block.picked(places, [block.rows[place] for place in places])

    def _decode(
        self, block: Block, places: Sequence[int], constraint: Constraint, noise: GumbelNoise | None
    ) -> torch.Tensor:
        """(rows, n): the tokens of an answer to the prompt at each of the places in the block.

        Raises UserError for an answer without an end.
        """
        backend, said = self._backend, []
        branches = Branches(block, places, backend.rows)
        for _ in range(backend.settings.max_new_tokens):
            scores = backend.forward(*branches.next_inputs())[:, -1]
            scores = constraint.masked(branches.of_answers(scores))
            chosen = (noise(scores) if noise else scores).argmax(dim=-1).cpu()
            ids = chosen.where(~constraint.ended, backend.reader.pad)
            said.append(ids)
            if constraint.accept(tokens := ids.tolist()):
                return torch.stack(said, dim=1)
            branches.grow(tokens, constraint.ended.tolist())
        raise UserError(
            f"an answer has no end after {backend.settings.max_new_tokens} tokens; valid: a larger model.max_new_tokens"
        )

    @torch.inference_mode()
    def first(self, rows: int = 1) -> torch.Tensor:
        """(n, vocabulary): the logits of an answer's first token, without a grammar. rows: of a pass, at least."""
        result = [torch.empty(0)] * len(self._requests)
        for block in self._blocks:
            new = self._filled(block, rows)
            ids, positions = new.ids[:, -new.unread :], new.positions[..., -new.unread :]
            scores = self._backend.forward(ids, positions, new.cache, {"attention_mask": new.mask})[:, -1].cpu()
            for row, of_row in zip(new.rows, scores, strict=True):
                result[row] = of_row
        return torch.stack(result)

    @torch.inference_mode()
    def form_mass(self, regex: str) -> np.ndarray:
        """(n,): the log-probability that each prompt's greedy answer keeps its form without a grammar: over its tokens,
        the product of the probability of all tokens that the grammar allows."""
        grammar, result = self._backend.grammar(regex), np.zeros(len(self._requests))
        for block in self._blocks:
            places = range(len(block.rows))
            measured = FormMass(grammar, len(places), self._backend.device)
            self._decode(block, places, measured, None)
            result[list(block.rows)] = measured.log_mass.numpy()
        return result

    @torch.inference_mode()
    def odds(self, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """(n,): the probability of each prompt's text, given that the answer is this text or the other.

        It is read off the first token in which the two differ. Raises UserError where one text begins the other.
        """
        parts, result = self._backend.partings(texts, others), np.zeros(len(self._requests))
        for block in self._blocks:
            new = self._filled(block)
            shared, lengths = [parts[row][0] for row in new.rows], torch.tensor([len(parts[r][0]) for r in new.rows])
            width = int(lengths.max())
            said = torch.tensor([[*some, *[self._backend.reader.pad] * (width - len(some))] for some in shared])
            real = (torch.arange(width) < lengths[:, None]).to(new.mask)
            ids = torch.cat([new.ids[:, -new.unread :], said.reshape(len(shared), width).to(new.ids)], dim=1)
            positions = torch.cat([new.positions[..., -new.unread :], new.next_positions(width)], dim=-1)
            mask = {"attention_mask": torch.cat([new.mask, real], dim=1)}
            logits = self._backend.forward(ids, positions, new.cache, mask, width + 1)
            last = logits.cpu()[torch.arange(len(shared)), lengths]
            either = last.gather(1, torch.tensor([parts[row][1] for row in new.rows]))
            result[list(new.rows)] = either.softmax(dim=1)[:, 0]
        return result

    @torch.inference_mode()
    def extend(self, prompts: Sequence[Sequence[list[Message]]], last: bool = False) -> "HFPrefilledBatch":
        """Longer prompts, which begin with the words of the prompt that they extend; one prompt's after the other's.

        last: none of these is extended further; their words are read together with what is said. A prompt is read whole
        where its tokens do not begin with those that were read.
        """
        backend = self._backend
        owners = [row for row, some in enumerate(prompts) for _ in some]
        messages = [longer for some in prompts for longer in some]
        longer = [Request(self._requests[o].frames, m) for o, m in zip(owners, messages, strict=True)]
        texts = [backend.template.prompt(m) for m in messages]
        tails = self._tails(owners, longer, texts)
        blocks = [part for block in self._blocks for part in self._extended(block, tails, last)]
        whole = [i for i, tail in enumerate(tails) if tail.tokens is None]
        blocks += backend.read([longer[i] for i in whole], [texts[i] for i in whole], whole)
        return HFPrefilledBatch(backend, longer, texts, blocks)

    def _tails(self, owners: Sequence[int], longer: Sequence[Request], texts: Sequence[str]) -> list[_Tail]:
        template, tokens = self._backend.template, self._backend.reader.tokens
        starts = [
            text[: template.end_of_words(text, r.messages)] for text, r in zip(self._texts, self._requests, strict=True)
        ]
        read = tokens(starts)
        after = tokens([t[template.end_of_words(t, r.messages) :] for t, r in zip(texts, longer, strict=True)])
        tails = []
        for o, whole, unread in zip(owners, tokens(texts), after, strict=True):
            n = len(read[o])
            same = self._backend.shares and whole[:n] == read[o]
            tails.append(_Tail(o, whole[n:] if same else None, max(1, len(unread))))
        return tails

    def _extended(self, block: Block, tails: Sequence[_Tail], last: bool) -> list[Block]:
        """The block's prompts with their tails, in blocks by the tails' padded length."""
        backend, blocks = self._backend, []
        places = {row: place for place, row in enumerate(block.rows)}
        some = [(places[t.owner], i) for i, t in enumerate(tails) if t.owner in places and t.tokens is not None]
        exact = block.gapless or not backend.padding
        keyed = ((len(tails[i].tokens) if exact else padded(len(tails[i].tokens)), (place, i)) for place, i in some)
        for width, part in backend.rows.batches(keyed):
            new = block.picked(*zip(*backend.rows.filled(part, width), strict=True))
            of_rows = [tails[i].tokens for i in new.rows]
            gaps = torch.tensor([width - len(tokens) for tokens in of_rows])
            tail = torch.tensor([[backend.reader.pad] * (width - len(tokens)) + tokens for tokens in of_rows])
            real = (torch.arange(width) >= gaps[:, None]).to(new.mask)
            read = slice(None, -new.unread)
            mask = torch.cat([new.mask[:, read], real], dim=1)
            backend.check_tokens(int(mask.sum(dim=1).max()))
            after = new.next_positions(1, -new.unread) - 1 + real.cumsum(dim=1)
            positions = torch.cat([new.positions[..., read], after], dim=-1)
            unread = width if last else tails[new.rows[0]].unread
            if unread < width:
                words = {"attention_mask": mask[:, :-unread]}
                backend.forward(tail[:, :-unread], positions[..., -width:-unread], new.cache, words)
            ids = torch.cat([new.ids[:, read], tail], dim=1)
            blocks.append(replace(new, ids=ids, mask=mask, positions=positions, unread=unread))
        return blocks
