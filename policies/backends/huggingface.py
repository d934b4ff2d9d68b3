"""A transformers image-text-to-text model as a backend: batched, grammar-constrained, reproducible.

An answer must not depend on which requests share its batch. A row's result depends on the shape of the pass: on its
padded length, so prompts are grouped by that; and, where a matrix product has very few rows, on their number, because
other kernels sum in another order. Passes therefore have a least number of rows (`Rows`), filled up where there are
fewer.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import xgrammar
from transformers import DynamicCache, PreTrainedModel, ProcessorMixin

from envs.errors import UserError
from policies.backend import Request, parting
from policies.backends.adapters import lora
from policies.backends.adapters.weights import os_errors
from policies.backends.checkpoint import files
from policies.backends.inputs import Reader, Rows, padded
from policies.backends.prefilled import Block, HFPrefilledBatch
from policies.backends.settings import ModelSettings, remember
from policies.backends.template import ChatTemplate

LEAST, MOST = 4, 32  # rows of a pass on a CPU: with 1 to 3, MKL multiplies in another order
GRAMMAR_BYTES = 2**26  # of compiled grammars that are kept: a server is asked for any number of regexes


class HFBackend:
    """A model and its processor.

    shares: prompts that begin alike share what was read. padding: a batch may hold prompts of different lengths.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, settings: ModelSettings | None = None):
        """Raises UserError for a processor without a chat template that works."""
        self.model, self.processor = model.eval(), processor
        self.settings = settings or ModelSettings()
        self.template, self.reader = ChatTemplate(processor), Reader(base_model(model), processor)
        self.shares, self.padding = True, True
        self.rows = _rows(self.settings.block, self.device)
        vocabulary = model.get_output_embeddings().weight.shape[0]
        info = xgrammar.TokenizerInfo.from_huggingface(
            processor.tokenizer, vocab_size=vocabulary, stop_token_ids=self._stops()
        )
        self._compiler = xgrammar.GrammarCompiler(info, cache_limit_bytes=GRAMMAR_BYTES)

    @property
    def digits(self) -> int:
        """Of a probability: in half precision, more of them depend on the batch."""
        return 4 if self.model.dtype == torch.float32 else 2

    @property
    def device(self) -> torch.device:
        return self.model.device

    def save(self, path: Path) -> None:
        """Weights as safetensors, config and processor; of a model with adapters, these alone and its base's hash.

        Raises OSError where the disk is full or fails.
        """
        with os_errors(path):
            if lora.is_adapted(self.model):
                lora.save(self.model, path)
            else:
                self.model.save_pretrained(path)
            self.processor.save_pretrained(path)
            remember(self.settings, path)
            files.share(path)

    def generate(self, requests: Sequence[Request], regex: str, temperature: float, seeds: Sequence[int]) -> list[str]:
        answers = self.prefill(requests).generate(regex, [temperature], [[seed] for seed in seeds])
        return [answer for (answer,) in answers]

    def prefill(self, requests: Sequence[Request]) -> HFPrefilledBatch:
        """Reads frames and prompts once into a KV cache. Raises UserError for a prompt that is too long."""
        texts = [self.template.prompt(r.messages) for r in requests]
        return HFPrefilledBatch(self, requests, texts, self.read(requests, texts))

    @torch.inference_mode()
    def read(self, requests: Sequence[Request], texts: Sequence[str], numbers: Sequence[int] = ()) -> list[Block]:
        """Reads rendered prompts whole. numbers: of the rows, if not from 0."""
        if not requests:
            return []
        prompts = self.reader.read_each(requests, texts)
        numbers = numbers or range(len(prompts))
        for prompt in prompts:
            self.check_tokens(len(prompt))
        end = self.template.end_of_words(texts[0], requests[0].messages)
        unread = max(1, len(self.reader.tokens([texts[0][end:]])[0]))  # what the template puts after a prompt's words
        keys = ((padded(len(p)) if self.padding else len(p), p.shape) for p in prompts)
        blocks = []
        for (length, _), some in self.rows.batches(zip(keys, range(len(prompts)), strict=True)):
            some = self.rows.filled(some, length - unread)
            batch = self.reader.batch([prompts[i] for i in some], length)
            ids, mask = batch.aligned["input_ids"], batch.aligned["attention_mask"]
            cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
            words = {name: v[:, :-unread] for name, v in batch.aligned.items()}
            self.forward(words.pop("input_ids"), batch.positions[..., :-unread], cache, words | batch.images)
            blocks.append(Block([numbers[i] for i in some], ids, mask, batch.positions, cache, unread))
        return blocks

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, cache: DynamicCache, inputs: Mapping[str, Any], keep: int = 1
    ) -> torch.Tensor:
        """Adds the tokens (rows, n) at their positions (p, rows, n) to the cache; returns the last `keep` logits.

        inputs: the attention mask, of all tokens so far, and what else the model takes.
        """
        where = positions[0] if len(positions) == 1 else positions
        given = {"input_ids": ids, "position_ids": where, **inputs}
        moved = {name: self.moved(value) for name, value in given.items()}
        return self.model(**moved, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits.float()

    def moved(self, value: Any) -> Any:
        """A tensor on the model's device; pixels, alone not whole numbers, in its dtype."""
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self.model.dtype if value.is_floating_point() else value.dtype)

    def grammar(self, regex: str) -> xgrammar.CompiledGrammar:
        """Of an answer, with what the template puts before it. The compiler keeps the latest ones."""
        lead = "".join(f"\\{c}" if c in r"\.^$*+?()[]{}|" else c for c in self.template.lead)
        return self._compiler.compile_regex(f"{lead}({regex})" if lead else regex)

    def texts(self, tokens: torch.Tensor) -> list[str]:
        """Rows of tokens as answers."""
        said = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.removeprefix(self.template.lead).strip() for text in said]

    def partings(self, texts: Sequence[str], others: Sequence[str]) -> list[tuple[tuple[int, ...], tuple[int, int]]]:
        """`parting` of each two answers, with what the template puts before them."""
        tokens = (self.reader.tokens([self.template.lead + text for text in some]) for some in (texts, others))
        return [parting(*each) for each in zip(texts, others, *tokens, strict=True)]

    def _stops(self) -> list[int]:
        """Tokens that end an answer: the template's, the tokenizer's, and all of the generation config."""
        configured = self.model.generation_config.eos_token_id
        stops = set(configured if isinstance(configured, list) else [configured])
        stops |= {self.processor.tokenizer.eos_token_id, *self.reader.tokens([self.template.stop])[0][:1]}
        return sorted(stop for stop in stops if stop is not None)

    def check_length(self, request: Request) -> None:
        """Raises UserError for a prompt with more tokens than the model has positions."""
        self.check_tokens(len(self.reader.read(request, self.template.prompt(request.messages))))

    def check_tokens(self, n: int) -> None:
        """Raises UserError for more tokens than the model has positions."""
        most = getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        if most and n > most:
            raise UserError(
                f"a prompt has {n} tokens, and the model at most {most}; valid: smaller or fewer frames, shorter words"
            )


def base_model(model: torch.nn.Module) -> torch.nn.Module:
    """The transformers model inside its adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _rows(block: int | str | None, device: torch.device) -> Rows:
    if block == "auto":
        return Rows(LEAST, MOST) if device.type == "cpu" else Rows()
    return Rows(most=block, exact=True) if block else Rows()
