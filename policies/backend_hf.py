"""A transformers image-text-to-text model as a backend: batched, grammar-constrained, reproducible.

An answer must not depend on which requests share its batch. Floating-point sums depend on a batch's shape, so every
forward pass here has the same shape: requests of the same padded length, BLOCK rows, the last block filled up.
What is sampled comes from each request's own seed, by the Gumbel-max trick (Maddison et al., 2014): the argmax of
logits plus Gumbel noise is a sample of the softmax.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xgrammar
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LogitsProcessor, LogitsProcessorList
from transformers.utils import logging
from xgrammar.contrib.hf import LogitsProcessor as GrammarProcessor

from envs.errors import UserError
from policies.backend import Request

logging.disable_progress_bar()  # loading two megabytes needs no bar
BLOCK = 32  # rows of every forward pass
PAD_MULTIPLE = 8  # prompts are padded to a multiple of this many tokens


class GumbelNoise(LogitsProcessor):
    """Adds each row's own Gumbel noise, so that greedy decoding samples at `temperature`."""

    def __init__(self, seeds: Sequence[int], temperature: float):
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = np.stack([rng.gumbel(size=scores.shape[1]) for rng in self.rngs])
        return scores / self.temperature + torch.from_numpy(noise).to(scores)


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
        grammar = self._grammar(regex)
        tokenizer = self.processor.tokenizer
        for rows, inputs in self._blocks(requests):
            processors = LogitsProcessorList([GrammarProcessor(grammar)])
            if temperature > 0:
                processors.append(GumbelNoise([seeds[row] for row in rows], temperature))
            tokens = self.model.generate(
                **inputs,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                logits_processor=processors,
                pad_token_id=tokenizer.pad_token_id,
            )
            texts = tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                answers[row] = text.strip()
        return answers

    @torch.inference_mode()
    def score(self, requests: Sequence[Request], words: Sequence[str]) -> np.ndarray:
        first = [self.processor.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]
        if len(set(first)) != len(words):
            raise UserError(f"words {words} begin with the same token and cannot be told apart")
        result = np.zeros((len(requests), len(words)))
        for rows, inputs in self._blocks(requests):
            logits = self.model(**inputs, logits_to_keep=1).logits[:, -1, first]
            result[rows] = torch.softmax(logits.double(), dim=-1).numpy()
        return result

    def _grammar(self, regex: str) -> xgrammar.CompiledGrammar:
        if regex not in self._grammars:
            self._grammars[regex] = self._compiler.compile_regex(regex)
        return self._grammars[regex]

    def _blocks(self, requests: Sequence[Request]):
        """Yields the row numbers, always BLOCK of them (the last repeated), and the model's inputs."""
        texts = [
            self.processor.apply_chat_template(r.messages, add_generation_prompt=True, tokenize=False) for r in requests
        ]
        images = [[Image.fromarray(frame) for frame in r.frames] for r in requests]
        inputs = self.processor(
            text=texts, images=images, return_tensors="pt", padding=True, pad_to_multiple_of=PAD_MULTIPLE
        )
        lengths = inputs["attention_mask"].sum(dim=1)
        padded = ((lengths + PAD_MULTIPLE - 1) // PAD_MULTIPLE * PAD_MULTIPLE).tolist()
        for length in sorted(set(padded)):
            rows = [row for row, own in enumerate(padded) if own == length]
            for start in range(0, len(rows), BLOCK):
                block = rows[start : start + BLOCK]
                block += block[-1:] * (BLOCK - len(block))
                part = {name: value[block] for name, value in inputs.items()}
                for name in ("input_ids", "attention_mask"):
                    part[name] = part[name][:, -length:]  # padding is on the left
                yield block, part
