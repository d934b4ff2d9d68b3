"""A transformers image-text-to-text model as a backend: batched, grammar-constrained, reproducible.

An answer must not depend on which requests share its batch. Floating-point sums depend on a batch's shape, so every
forward pass here has the same shape: requests of the same padded length, BLOCK rows, the last block filled up.
What is sampled comes from each request's own seed, by the Gumbel-max trick (Maddison et al., 2014): the argmax of
logits plus Gumbel noise is a sample of the softmax.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xgrammar
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, DynamicCache, LogitsProcessor, LogitsProcessorList
from transformers.utils import logging
from xgrammar.contrib.hf import LogitsProcessor as GrammarProcessor

from envs.errors import UserError
from policies.backend import Request
from policies.prompt import Message

logging.disable_progress_bar()  # loading two megabytes needs no bar
SEPARATOR = ";"  # between what is said and the word that ends it
BLOCK = 32  # rows of every forward pass
PAD_MULTIPLE = 8  # prompts are padded to a multiple of this many tokens


class GumbelNoise(LogitsProcessor):
    """Adds each row's own Gumbel noise, so that greedy decoding samples at its temperature; none where that is 0."""

    def __init__(self, seeds: Sequence[int], temperatures: Sequence[float]):
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        self.temperatures = np.array(temperatures)[:, None]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = np.stack([rng.gumbel(size=scores.shape[1]) for rng in self.rngs])
        return scores + torch.from_numpy(self.temperatures * noise).to(scores)


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

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], regex: str, temperature: float, seeds: Sequence[int]) -> list[str]:
        answers = [""] * len(requests)
        for rows, inputs in self._blocks(requests):
            texts = self._decode(inputs, regex, [temperature] * len(rows), [seeds[row] for row in rows])
            for row, text in zip(rows, texts, strict=True):
                answers[row] = text
        return answers

    @torch.inference_mode()
    def score(self, requests: Sequence[Request], words: Sequence[str], said: str = "") -> tuple[np.ndarray, list[str]]:
        result, texts = np.zeros((len(requests), len(words))), [""] * len(requests)
        for rows, inputs in self._blocks(requests):
            result[rows], before = self._verdicts(inputs, words, said)
            for row, text in zip(rows, before, strict=True):
                texts[row] = text
        return result, texts

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
            self.model(**words, position_ids=_positions(mask)[:, :-after], past_key_values=cache, logits_to_keep=1)
            looked.append(_Block(rows, ids, mask, cache, after))
        return Looked(self, ends, looked)

    def _decode(
        self, inputs: Mapping[str, Any], regex: str, temperatures: Sequence[float], seeds: Sequence[int]
    ) -> list[str]:
        noise = [GumbelNoise(seeds, temperatures)] if any(temperatures) else []
        return self._texts(self._generate(inputs, regex, noise).sequences[:, inputs["input_ids"].shape[1] :])

    def _verdicts(self, inputs: Mapping[str, Any], words: Sequence[str], said: str) -> tuple[np.ndarray, list[str]]:
        """(rows, words) probabilities where the word is chosen, and what was said before."""
        choice, before = "|".join(words), f"{SEPARATOR} " if said else ""
        first = [self._tokens(before + word)[bool(said)] for word in words]
        if len(set(first)) != len(words):
            raise UserError(f"words {words} begin with the same token and cannot be told apart")
        output = self._generate(inputs, f"{said}{before}({choice})", [], output_scores=True)
        answers = output.sequences[:, inputs["input_ids"].shape[1] :]
        places = torch.arange(1, answers.shape[1] + 1)
        at = (torch.isin(answers, self._separators) * places).amax(dim=1)  # after the last separator; 0 where none is
        logits = torch.stack(output.scores, dim=1)[torch.arange(len(at)), at][:, first]
        texts = [text.rpartition(SEPARATOR)[0] for text in self._texts(answers)]
        return torch.softmax(logits.double(), dim=-1).numpy(), texts

    def _generate(
        self, inputs: Mapping[str, Any], regex: str, processors: list[LogitsProcessor], **settings: Any
    ) -> Any:
        grammar = GrammarProcessor(self._grammar(regex))
        return self.model.generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([grammar, *processors]),
            pad_token_id=self.processor.tokenizer.pad_token_id,
            return_dict_in_generate=True,
            **settings,
        )

    def _texts(self, tokens: torch.Tensor) -> list[str]:
        return [text.strip() for text in self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _render(self, messages: list[Message]) -> str:
        return self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def _tokens(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    @cached_property
    def _separators(self) -> torch.Tensor:
        """The tokens that hold a separator."""
        tokenizer = self.processor.tokenizer
        texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        return torch.tensor([token for token, text in enumerate(texts) if SEPARATOR in text])

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
    """BLOCK prompts of one padded length, whose words are in `cache`; the template's last `after` tokens are not."""

    rows: list[int]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache
    after: int

    def repeated(self, n: int) -> tuple[torch.Tensor, torch.Tensor, DynamicCache]:
        """Token ids, attention mask and a cache of its own, `n` times each row."""
        cache = deepcopy(self.cache)
        cache.batch_repeat_interleave(n)
        return self.ids.repeat_interleave(n, dim=0), self.mask.repeat_interleave(n, dim=0), cache


class Looked:
    """Prompts that a model has read, with their frames: what follows does not read them again.

    An answer here may differ in its last bits, and so now and then in its words, from one by `generate`: sums are taken
    in another order. It depends on nothing else in the batch either.
    """

    def __init__(self, backend: HFBackend, ends: Sequence[int], blocks: Sequence[_Block]):
        """ends: where each prompt's words end in the rendered chat."""
        self._backend, self._ends, self._blocks = backend, ends, blocks

    @torch.inference_mode()
    def generate(self, regex: str, temperatures: Sequence[float], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        """For each prompt one answer for each temperature, with the prompt's own seeds."""
        answers: list[list[str]] = [[] for _ in self._ends]
        n = len(temperatures)
        for block in self._blocks:
            ids, mask, cache = block.repeated(n)
            inputs = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}
            drawn = [seed for row in block.rows for seed in seeds[row]]
            texts = self._backend._decode(inputs, regex, list(temperatures) * len(block.rows), drawn)
            for i, row in enumerate(block.rows):
                answers[row] = texts[i * n : (i + 1) * n]
        return answers

    @torch.inference_mode()
    def score(
        self, questions: Sequence[Sequence[list[Message]]], words: Sequence[str], said: str = ""
    ) -> tuple[np.ndarray, list[list[str]]]:
        """(prompts, questions of each, words), and what was said: as the backend's `score`, of as many questions each.

        Each question's words begin with its prompt's.
        """
        n, result = len(questions[0]), np.zeros((len(questions), len(questions[0]), len(words)))
        texts: list[list[str]] = [[] for _ in questions]
        tails = [
            [self._backend._tokens(self._backend._render(question)[end:]) for question in some]
            for some, end in zip(questions, self._ends, strict=True)
        ]
        widths = [_padded(max(map(len, some))) for some in tails]
        for block in self._blocks:
            for width in sorted({widths[row] for row in block.rows}):
                ids, mask, cache = block.repeated(n)
                asked = [tail[-width:] for row in block.rows for tail in tails[row]]  # cut: not of this width, ignored
                padded = self._backend.processor.tokenizer.pad(
                    {"input_ids": asked}, padding="max_length", max_length=width, return_tensors="pt"
                )
                inputs = {
                    "input_ids": torch.cat([ids[:, : -block.after], padded["input_ids"]], dim=1),
                    "attention_mask": torch.cat([mask[:, : -block.after], padded["attention_mask"]], dim=1),
                    "past_key_values": cache,
                }
                likely, said_before = self._backend._verdicts(inputs, words, said)
                for i, row in enumerate(block.rows):
                    if widths[row] == width:
                        result[row], texts[row] = likely[i * n : (i + 1) * n], said_before[i * n : (i + 1) * n]
        return result, texts


def _padded(length: int) -> int:
    return -(-length // PAD_MULTIPLE) * PAD_MULTIPLE


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Of each token among those that are no padding."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _end_of_words(text: str, messages: list[Message]) -> int:
    """Where the last message's own words end in the rendered chat."""
    words = messages[-1]["content"][-1]["text"]
    return text.rindex(words) + len(words)
