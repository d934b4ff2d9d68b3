"""A transformers image-text-to-text model as a backend: batched, grammar-constrained, reproducible.

An answer must not depend on which requests share its batch. Floating-point sums depend on a batch's shape, so every
forward pass here has the same shape: requests of the same padded length, BLOCK rows, the last block filled up.
Samples come from each request's own seed by the Gumbel-max trick (Maddison et al., 2014): the argmax of logits plus
Gumbel noise is a sample of the softmax.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import xgrammar
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.utils import logging

from envs.errors import UserError
from policies.backend import Request
from policies.prompt import Message

logging.disable_progress_bar()  # loading two megabytes needs no bar
T = TypeVar("T")
BLOCK = 32  # rows of every forward pass
PAD_MULTIPLE = 8  # prompts are padded to a multiple of this many tokens


class GumbelNoise(LogitsProcessor):
    """Adds each row's own Gumbel noise, so that greedy decoding samples at its temperature; none where that is 0."""

    def __init__(self, seeds: Sequence[int], temperatures: Sequence[float]):
        self.temperatures = np.array(temperatures)[:, None]
        self.rngs = {row: np.random.default_rng(seeds[row]) for row in np.flatnonzero(temperatures)}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        drawn = np.ones(scores.shape)  # its negative logarithm, of what is drawn from an exponential, is Gumbel noise
        for row, rng in self.rngs.items():
            rng.standard_exponential(out=drawn[row])
        return scores - torch.from_numpy(self.temperatures * np.log(drawn)).to(scores)


class Allowed(LogitsProcessor):
    """Masks the tokens that a grammar does not allow next, in each of `n` rows.

    As `xgrammar.contrib.hf`, but `Ended` advances the matchers, to stop a row as soon as its grammar is complete.
    """

    def __init__(self, grammar: xgrammar.CompiledGrammar, n: int):
        self.matchers = [xgrammar.GrammarMatcher(grammar) for _ in range(n)]
        self.mask = xgrammar.allocate_token_bitmask(n, grammar.tokenizer_info.vocab_size)
        for row, matcher in enumerate(self.matchers):
            matcher.fill_next_token_bitmask(self.mask, row)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        xgrammar.apply_token_bitmask_inplace(scores, self.mask.to(scores.device))
        return scores


class Ended(StoppingCriteria):
    """Stops a row once its grammar allows nothing but the end of the text."""

    def __init__(self, allowed: Allowed):
        self.allowed = allowed
        self.ended = torch.zeros(len(allowed.matchers), dtype=torch.bool)
        stops = np.zeros(32 * allowed.mask.shape[1], bool)
        stops[allowed.matchers[0].stop_token_ids] = True
        self._end = torch.from_numpy(np.packbits(stops, bitorder="little").view(np.int32))

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        said = input_ids[:, -1].tolist()
        for row in torch.nonzero(~self.ended)[:, 0].tolist():
            matcher, mask = self.allowed.matchers[row], self.allowed.mask
            if not matcher.accept_token(said[row]):
                raise RuntimeError(f"token {said[row]} was said, which the grammar does not allow")
            if not matcher.is_terminated():
                matcher.fill_next_token_bitmask(mask, row)
            self.ended[row] = matcher.is_terminated() or (matcher.is_completed() and torch.equal(mask[row], self._end))
        return self.ended.to(input_ids.device)


class HFBackend:
    """A model and its processor. `max_new_tokens` bounds an answer."""

    def __init__(self, model: torch.nn.Module, processor, max_new_tokens: int = 512):
        self.model, self.processor, self.max_new_tokens = model.eval(), processor, max_new_tokens
        info = xgrammar.TokenizerInfo.from_huggingface(
            processor.tokenizer, vocab_size=model.config.get_text_config().vocab_size
        )
        self._compiler = xgrammar.GrammarCompiler(info)
        self._grammars: dict[str, xgrammar.CompiledGrammar] = {}

    @classmethod
    def load(cls, path: str | Path) -> "HFBackend":
        """From a checkpoint's folder. Raises UserError where there is none, or part of one."""
        valid = "valid: a folder with config.json, weights and processor"
        if not (Path(path) / "config.json").is_file():
            raise UserError(f"no checkpoint in {str(path)!r}; {valid}")
        try:
            model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
            # PIL: the other image processors import torchvision
            return cls(model, AutoProcessor.from_pretrained(path, backend="pil"))
        except (OSError, ValueError) as error:
            raise UserError(f"checkpoint {str(path)!r} does not load: {error}; {valid}") from error

    def save(self, path: Path) -> None:
        """Weights as safetensors, config and processor."""
        self.model.save_pretrained(path)
        self.processor.save_pretrained(path)

    def generate(self, requests: Sequence[Request], regex: str, temperature: float, seeds: Sequence[int]) -> list[str]:
        answers = self.prefill(requests).generate(regex, [temperature], [[seed] for seed in seeds])
        return [answer for (answer,) in answers]

    @torch.inference_mode()
    def prefill(self, requests: Sequence[Request]) -> "HFPrefilledBatch":
        """Reads frames and prompts once into a KV cache."""
        texts = self._render([r.messages for r in requests])
        ends = [_end_of_words(text, r.messages) for text, r in zip(texts, requests, strict=True)]
        after = len(self._tokens([texts[0][ends[0] :]])[0])  # tokens that the chat template puts after a prompt's words
        blocks = []
        for rows, inputs in self._blocks(requests, texts):
            cache = DynamicCache(config=self.model.config.get_text_config())
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            words = inputs | {"input_ids": ids[:, :-after], "attention_mask": mask[:, :-after]}
            self._read(words, mask, cache)
            blocks.append(_Block(rows, ids, mask, cache, after))
        return HFPrefilledBatch(self, blocks, ends)

    def _read(self, inputs: Mapping[str, Any], mask: torch.Tensor, cache: DynamicCache, keep: int = 1) -> torch.Tensor:
        """Adds the tokens to the cache; returns the last `keep` logits. mask: of all tokens, or of more."""
        end = cache.get_seq_length() + inputs["input_ids"].shape[1]
        positions = _positions(mask)[:, cache.get_seq_length() : end]
        return self.model(**inputs, position_ids=positions, past_key_values=cache, logits_to_keep=keep).logits

    def _generate(self, inputs: Mapping[str, Any], regex: str, processors: list[LogitsProcessor]) -> torch.Tensor:
        allowed = Allowed(self._grammar(regex), len(inputs["input_ids"]))
        return self.model.generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([allowed, *processors]),
            stopping_criteria=StoppingCriteriaList([Ended(allowed)]),
            pad_token_id=self.processor.tokenizer.pad_token_id,
        )

    def _texts(self, tokens: torch.Tensor) -> list[str]:
        return [text.strip() for text in self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _render(self, chats: Sequence[list[Message]]) -> list[str]:
        return self.processor.apply_chat_template(list(chats), add_generation_prompt=True, tokenize=False)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return self.processor.tokenizer(list(texts), add_special_tokens=False)["input_ids"]

    def _partings(self, texts: Sequence[str], others: Sequence[str]) -> Iterator[tuple[list[int], tuple[int, int]]]:
        """The common first tokens of two texts, and the next of each. Raises UserError where one begins the other."""
        for text, other, *tokens in zip(texts, others, self._tokens(texts), self._tokens(others), strict=True):
            both = list(zip(*tokens, strict=False))
            n = next((i for i, (a, b) in enumerate(both) if a != b), None)
            if n is None:
                raise UserError(
                    f"{text!r} and {other!r} do not part; valid: two texts, neither of which begins the other"
                )
            yield [token for token, _ in both[:n]], both[n]

    def _grammar(self, regex: str) -> xgrammar.CompiledGrammar:
        if regex not in self._grammars:
            self._grammars[regex] = self._compiler.compile_regex(regex)
        return self._grammars[regex]

    def _blocks(
        self, requests: Sequence[Request], texts: list[str]
    ) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        """Yields the row numbers, always BLOCK of them (the last repeated), and the model's inputs.

        texts: the requests' rendered chats.
        """
        images = [[Image.fromarray(frame) for frame in r.frames] for r in requests]
        inputs = self.processor(
            text=texts, images=images, return_tensors="pt", padding=True, pad_to_multiple_of=PAD_MULTIPLE
        )
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        for length, block in _batches(zip(lengths, range(len(requests)), strict=True)):
            part = {name: value[block] for name, value in inputs.items()}
            for name in ("input_ids", "attention_mask"):
                part[name] = part[name][:, -length:]  # padding is on the left
            yield block, part


@dataclass(frozen=True)
class _Block:
    """Prompts of one padded length, numbered by `rows`.

    `cache` holds all but their last `unread` tokens, which are at least those of the template.
    """

    rows: Sequence[int]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache
    unread: int

    def picked(self, places: Sequence[int], rows: Sequence[int]) -> "_Block":
        """The prompts at `places`, any of them several times, with a cache of its own; `rows` are their new numbers."""
        cache, index = copy(self.cache), torch.tensor(places)
        cache.layers = [copy(layer) for layer in cache.layers]
        cache.batch_select_indices(index)  # new tensors, in place of those that were shared
        return _Block(rows, self.ids[index], self.mask[index], cache, self.unread)


class HFPrefilledBatch:
    """Prompts that a model has read into a KV cache, with their frames.

    An answer to one depends on nothing else in the batch; the last bits of its odds do.
    """

    def __init__(self, backend: HFBackend, blocks: Sequence[_Block], ends: Sequence[int]):
        """ends: where each prompt's words end in the rendered chat."""
        self._backend, self._n, self._blocks, self._ends = backend, len(ends), blocks, ends

    @torch.inference_mode()
    def generate(self, regex: str, temperatures: Sequence[float], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        """For each prompt one answer for each temperature, with the prompt's own seeds."""
        n = len(temperatures)
        answers = [""] * (self._n * n)
        for block in self._blocks:
            every = block.picked(
                [place for place in range(BLOCK) for _ in range(n)],
                [row * n + k for row in block.rows for k in range(n)],
            )
            drawn = [seed for row in block.rows for seed in seeds[row]]
            noise = [GumbelNoise(drawn, list(temperatures) * BLOCK)] if any(temperatures) else []
            inputs = {"input_ids": every.ids, "attention_mask": every.mask, "past_key_values": every.cache}
            output = self._backend._generate(inputs, regex, noise)
            for row, text in zip(every.rows, self._backend._texts(output[:, every.ids.shape[1] :]), strict=True):
                answers[row] = text
        return [answers[i : i + n] for i in range(0, len(answers), n)]

    @torch.inference_mode()
    def odds(self, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """(n,): the probability of each prompt's text, given that the answer is this text or the other.

        It is read off the first token in which the two differ. Raises UserError where one text begins the other.
        """
        parts = list(self._backend._partings(texts, others))
        result = np.zeros(self._n)
        for block in self._blocks:
            shared = [torch.tensor(parts[row][0], dtype=torch.long) for row in block.rows]
            said = pad_sequence(shared, batch_first=True)
            real = pad_sequence([torch.ones_like(some) for some in shared], batch_first=True)
            ids = torch.cat([block.ids[:, -block.unread :], said], dim=1)
            mask = torch.cat([block.mask, real], dim=1)
            cache = block.picked(range(BLOCK), block.rows).cache
            inputs = {"input_ids": ids, "attention_mask": mask}
            logits = self._backend._read(inputs, mask, cache, said.shape[1] + 1).float()
            last = logits[torch.arange(len(shared)), real.sum(dim=1)]
            either = last.gather(1, torch.tensor([parts[row][1] for row in block.rows]))
            result[list(block.rows)] = either.softmax(dim=1)[:, 0]
        return result

    @torch.inference_mode()
    def extend(self, prompts: Sequence[Sequence[list[Message]]], last: bool = False) -> "HFPrefilledBatch":
        """Longer prompts, whose words begin with those of the prompt that they extend; one prompt's after the other's.

        last: none of these is extended further; their words are read together with what is said.
        """
        backend, blocks = self._backend, []
        longer = list(chain(*prompts))
        first = np.cumsum([0, *map(len, prompts)])  # number of each prompt's first extension
        texts = backend._render(longer)
        starts = np.repeat(self._ends, np.diff(first))
        tails = backend._tokens([text[start:] for text, start in zip(texts, starts, strict=True)])
        for block in self._blocks:
            places = {row: place for place, row in enumerate(block.rows)}
            following = [(place, i) for row, place in places.items() for i in range(first[row], first[row + 1])]
            for width, some in _batches((len(tails[i]), (place, i)) for place, i in following):
                new = block.picked(*zip(*some, strict=True))
                padded = backend.processor.tokenizer.pad(
                    {"input_ids": [tails[i] for i in new.rows]},
                    padding="max_length",
                    max_length=width,
                    return_tensors="pt",
                )
                ids = torch.cat([new.ids[:, : -new.unread], padded["input_ids"]], dim=1)
                mask = torch.cat([new.mask[:, : -new.unread], padded["attention_mask"]], dim=1)
                if not last:
                    words = {"input_ids": padded["input_ids"], "attention_mask": mask}
                    backend._read({name: t[:, : -new.unread] for name, t in words.items()}, mask, new.cache)
                blocks.append(replace(new, ids=ids, mask=mask, unread=width if last else new.unread))
        return HFPrefilledBatch(backend, blocks, list(map(_end_of_words, texts, longer)))


def _batches(items: Iterable[tuple[int, T]]) -> Iterator[tuple[int, list[T]]]:
    """Items, given after their lengths, by the padded length that they share: BLOCK of them, the last repeated."""
    of_length = defaultdict(list)
    for length, item in items:
        of_length[_padded(length)].append(item)
    for length, some in of_length.items():
        for start in range(0, len(some), BLOCK):
            batch = some[start : start + BLOCK]
            yield length, batch + batch[-1:] * (BLOCK - len(batch))


def _padded(length: int) -> int:
    return -(-length // PAD_MULTIPLE) * PAD_MULTIPLE


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Of each token among those that are no padding."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _end_of_words(text: str, messages: list[Message]) -> int:
    """Where the last message's own words end in the rendered chat."""
    words = messages[-1]["content"][-1]["text"]
    return text.rindex(words) + len(words)
