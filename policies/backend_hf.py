"""A transformers image-text-to-text model as a backend: batched, grammar-constrained, reproducible.

An answer must not depend on which requests share its batch. Floating-point sums depend on a batch's shape, so every
forward pass here has the same shape: requests of the same padded length, BLOCK rows, the last block filled up.
What is sampled comes from each request's own seed, by the Gumbel-max trick (Maddison et al., 2014): the argmax of
logits plus Gumbel noise is a sample of the softmax.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import xgrammar
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText, AutoProcessor, DynamicCache, LogitsProcessor, LogitsProcessorList
from transformers.utils import logging
from xgrammar.contrib.hf import LogitsProcessor as GrammarProcessor

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
        self.rows = [
            (i, t, np.random.default_rng(seed))
            for i, (seed, t) in enumerate(zip(seeds, temperatures, strict=True))
            if t
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = np.zeros(scores.shape)
        for i, temperature, rng in self.rows:
            noise[i] = temperature * rng.gumbel(size=scores.shape[1])
        return scores + torch.from_numpy(noise).to(scores)


class HFBackend:
    """A model and its processor. `max_new_tokens` bounds an answer."""

    def __init__(self, model: torch.nn.Module, processor, max_new_tokens: int = 128):
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
        return [answer for (answer,) in self.look(requests).generate(regex, [temperature], [[seed] for seed in seeds])]

    @torch.inference_mode()
    def look(self, requests: Sequence[Request]) -> "Looked":
        """Encodes frames and prompts once, for several answers to each and several questions that begin as they do."""
        texts = [self._render(r.messages) for r in requests]
        ends = [_end_of_words(text, r.messages) for text, r in zip(texts, requests, strict=True)]
        after = len(self._tokens(texts[0][ends[0] :]))  # tokens that the chat template puts after a prompt's words
        looked = []
        for rows, inputs in self._blocks(requests):
            cache = DynamicCache(config=self.model.config.get_text_config())
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            words = inputs | {"input_ids": ids[:, :-after], "attention_mask": mask[:, :-after]}
            self._read(words, mask, cache)
            looked.append(_Block(rows, ids, mask, cache, after))
        return Looked(self, looked, ends)

    def _read(self, inputs: Mapping[str, Any], mask: torch.Tensor, cache: DynamicCache, keep: int = 1) -> torch.Tensor:
        """Adds the tokens to the cache, the last of which `mask` ends with or goes on from; the last `keep` logits."""
        end = cache.get_seq_length() + inputs["input_ids"].shape[1]
        positions = _positions(mask)[:, cache.get_seq_length() : end]
        return self.model(**inputs, position_ids=positions, past_key_values=cache, logits_to_keep=keep).logits

    def _generate(self, inputs: Mapping[str, Any], regex: str, processors: list[LogitsProcessor]) -> torch.Tensor:
        grammar = GrammarProcessor(self._grammar(regex))
        return self.model.generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([grammar, *processors]),
            pad_token_id=self.processor.tokenizer.pad_token_id,
        )

    def _texts(self, tokens: torch.Tensor) -> list[str]:
        return [text.strip() for text in self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _render(self, messages: list[Message]) -> str:
        return self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def _tokens(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _parting(self, text: str, other: str) -> tuple[list[int], tuple[int, int]]:
        """The tokens that both texts begin with, and the next of each. Raises UserError where one begins the other."""
        both = list(zip(self._tokens(text), self._tokens(other), strict=False))
        n = next((i for i, (a, b) in enumerate(both) if a != b), None)
        if n is None:
            raise UserError(f"{text!r} and {other!r} do not part; valid: two texts, neither of which begins the other")
        return [token for token, _ in both[:n]], both[n]

    def _grammar(self, regex: str) -> xgrammar.CompiledGrammar:
        if regex not in self._grammars:
            self._grammars[regex] = self._compiler.compile_regex(regex)
        return self._grammars[regex]

    def _blocks(self, requests: Sequence[Request]) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        """Yields the row numbers, always BLOCK of them (the last repeated), and the model's inputs."""
        texts = [self._render(r.messages) for r in requests]
        images = [[Image.fromarray(frame) for frame in r.frames] for r in requests]
        inputs = self.processor(
            text=texts, images=images, return_tensors="pt", padding=True, pad_to_multiple_of=PAD_MULTIPLE
        )
        lengths = inputs["attention_mask"].sum(dim=1)
        padded = [_padded(length) for length in lengths.tolist()]
        for length in sorted(set(padded)):
            rows = [row for row, own in enumerate(padded) if own == length]
            for start in range(0, len(rows), BLOCK):
                block = rows[start : start + BLOCK]
                block += block[-1:] * (BLOCK - len(block))
                part = {name: value[block] for name, value in inputs.items()}
                for name in ("input_ids", "attention_mask"):
                    part[name] = part[name][:, -length:]  # padding is on the left
                yield block, part


@dataclass(frozen=True)
class _Block:
    """Prompts of one padded length, of which `cache` holds all but the last `after` tokens, those of the template.

    rows: their numbers; what is at a place of `skipped` is of another block.
    """

    rows: list[int]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache
    after: int
    skipped: frozenset[int] = frozenset()

    def repeated(self, n: int) -> "_Block":
        """Each prompt `n` times, with a cache of its own; numbered as the prompts' answers, or questions, are."""
        cache = deepcopy(self.cache)
        cache.batch_repeat_interleave(n)
        rows = [row * n + k for row in self.rows for k in range(n)]
        ids, mask = (tensor.repeat_interleave(n, dim=0) for tensor in (self.ids, self.mask))
        return _Block(rows, ids, mask, cache, self.after)

    def own(self, results: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Number and result of each of its rows."""
        return (
            (row, result)
            for i, (row, result) in enumerate(zip(self.rows, results, strict=True))
            if i not in self.skipped
        )


class Looked:
    """Prompts that a model has read, with their frames: what follows does not read them again.

    What is said of one depends on nothing else in the batch, but for the last bits of the odds.
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
            drawn = [seed for row in block.rows for seed in seeds[row]]
            hot = list(temperatures) * len(block.rows)
            noise = [GumbelNoise(drawn, hot)] if any(temperatures) else []
            every = block.repeated(n)
            inputs = {"input_ids": every.ids, "attention_mask": every.mask, "past_key_values": every.cache}
            output = self._backend._generate(inputs, regex, noise)
            for row, text in every.own(self._backend._texts(output[:, every.ids.shape[1] :])):
                answers[row] = text
        return [answers[i : i + n] for i in range(0, len(answers), n)]

    @torch.inference_mode()
    def odds(self, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """(n,): the probability that a prompt is answered by its text, where it is that or the other.

        It is decided by the first token in which the two part. Raises UserError where they do not.
        """
        parts = [self._backend._parting(*both) for both in zip(texts, others, strict=True)]
        result = np.zeros(self._n)
        for block in self._blocks:
            shared = [torch.tensor(parts[row][0], dtype=torch.long) for row in block.rows]
            said = pad_sequence(shared, batch_first=True)
            real = pad_sequence([torch.ones_like(some) for some in shared], batch_first=True)
            ids = torch.cat([block.ids[:, -block.after :], said], dim=1)
            mask = torch.cat([block.mask, real], dim=1)
            inputs, cache = {"input_ids": ids, "attention_mask": mask}, deepcopy(block.cache)
            logits = self._backend._read(inputs, mask, cache, said.shape[1] + 1).float()
            last = logits[torch.arange(len(shared)), real.sum(dim=1)]
            either = last.gather(1, torch.tensor([parts[row][1] for row in block.rows]))
            for row, sure in block.own(either.softmax(dim=1)[:, 0].tolist()):
                result[row] = sure
        return result

    @torch.inference_mode()
    def then(self, questions: Sequence[Sequence[list[Message]]]) -> "Looked":
        """As many questions of each prompt, whose words begin with the prompt's: prompts that were read too."""
        backend, n, looked = self._backend, len(questions[0]), []
        texts = [[backend._render(question) for question in some] for some in questions]
        tails = [[backend._tokens(text[end:]) for text in some] for some, end in zip(texts, self._ends, strict=True)]
        ends = list(map(_end_of_words, chain(*texts), chain(*questions)))
        widths = [_padded(max(map(len, some))) for some in tails]
        for block in self._blocks:
            for width in sorted({widths[row] for row in block.rows}):
                every = block.repeated(n)
                skipped = frozenset(i for i, row in enumerate(every.rows) if widths[row // n] != width)
                asked = [tail[-width:] for row in block.rows for tail in tails[row]]  # cut: of those skipped
                padded = backend.processor.tokenizer.pad(
                    {"input_ids": asked}, padding="max_length", max_length=width, return_tensors="pt"
                )
                ids = torch.cat([every.ids[:, : -block.after], padded["input_ids"]], dim=1)
                mask = torch.cat([every.mask[:, : -block.after], padded["attention_mask"]], dim=1)
                words = {"input_ids": padded["input_ids"][:, : -block.after], "attention_mask": mask[:, : -block.after]}
                backend._read(words, mask, every.cache)
                looked.append(_Block(every.rows, ids, mask, every.cache, block.after, skipped))
        return Looked(backend, looked, ends)


def _padded(length: int) -> int:
    return -(-length // PAD_MULTIPLE) * PAD_MULTIPLE


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Of each token among those that are no padding."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _end_of_words(text: str, messages: list[Message]) -> int:
    """Where the last message's own words end in the rendered chat."""
    words = messages[-1]["content"][-1]["text"]
    return text.rindex(words) + len(words)
