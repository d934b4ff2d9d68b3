"""A model behind an OpenAI-compatible chat-completions server as a backend: vLLM first, SGLang, `handeye serve`.

Frames travel as PNG, which is lossless, and messages as they are. A grammar is asked for in vLLM's words
(`structured_outputs`) and in SGLang's (`regex`); either ignores the other's. The server keeps the KV cache of a common
prefix, so prefilled prompts are kept here as text, and continuations are longer prompts.
"""

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from envs.errors import UserError, unknown
from policies.backend import Request, TemplateTraits, do_not_part, parting
from policies.backends.server.adapters import adapter_name
from policies.backends.server.address import ServerAddress
from policies.backends.server.client import SHOWN, Client, RefusedError
from policies.backends.server.wire import Choice, Completion, Detokenised, Model, Models, Position, Token, Tokens, read
from policies.backends.settings import ModelSettings, as_kept
from policies.prompt import Message

TOP_LOGPROBS = 20  # the most that OpenAI's protocol allows
FIRST_CONTACT_S = 5.0  # a server that is not there at first is a mistake; one that goes away later may come back
LEAD = r"[ \n]{0,2}"  # some chat templates put white space before an answer, and the model was trained to say it
COUNT_SEEDS = ("vllm", "handeye")  # the i-th of n samples is that of seed + i; others are asked for each by its own
PLAIN = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}  # or the model's own defaults are used


class ServerBackend:
    """One model of one server. Made by `connect`."""

    def __init__(
        self,
        client: Client,
        model: Model,
        settings: ModelSettings | None = None,
        template: TemplateTraits | None = None,
    ):
        """model: as /v1/models lists it. template: as in `connect`."""
        self.client, self.model, self.card = client, model.id, model
        asked = model.dialect, model.examples, model.image_size or "auto"
        self.settings = (settings or ModelSettings()) if template else as_kept(settings or ModelSettings(), *asked)
        self.template = template or model
        self._adapter: tuple[str, str] | None = None  # name and path
        ours = model.owned_by == "handeye"
        self.digits = 4 if ours else 2  # others batch in half precision, as they like
        self.lead = "" if ours else LEAD  # our own server knows its template, and admits its lead itself
        self.counts_seeds = model.owned_by in COUNT_SEEDS
        self.address = client.address

    @classmethod
    def connect(
        cls, address: ServerAddress, settings: ModelSettings | None = None, template: TemplateTraits | None = None
    ) -> "ServerBackend":
        """settings: of which `max_new_tokens` applies, and how the model is asked; what our own server says of that
        takes the place of `auto`, unless there is a template. template: of the weights here, which are asked by the
        settings as they are. Raises UserError where there is no server, or not that model, and where it cannot load the
        adapter."""
        client = Client(address)
        listed = read(
            Models, client.get(f"{address.server}/models", min(FIRST_CONTACT_S, address.patience_s)), address.server
        )
        known = {model.id: model for model in listed.data}
        whole = [model.id for model in listed.data if model.parent is None]
        if address.model is None and len(whole) != 1:
            raise UserError(
                f"server {address.server} has {len(whole)} models; valid: #NAME after the URL, or model: NAME, "
                f"of {', '.join(known)}"
            )
        name = address.model or whole[0]
        if name not in known:
            raise unknown(f"model of {address.server}", name, known)
        backend = cls(client, known[name], settings, template)
        if address.adapter:
            adapter = adapter_name(address)
            is_there = adapter in known and address.weights is not None  # then its name says its content
            backend.act_with(adapter, address.adapter) if is_there else backend.load_adapter(adapter, address.adapter)
        return backend

    def load_adapter(self, name: str, path: str | Path) -> None:
        """Have the server load a LoRA adapter from a folder that it can read, in the place of one of that name, and
        answer with it from now on."""
        body = {"lora_name": name, "lora_path": str(path), "load_inplace": True}
        try:
            self.client.post(f"{self.address.server}/load_lora_adapter", body)
        except RefusedError as error:
            raise UserError(
                f"adapter {str(path)!r} was not loaded: {error}; valid: a server that loads adapters while it "
                "runs (vLLM: --enable-lora, VLLM_ALLOW_RUNTIME_LORA_UPDATING=1; handeye serve: --adapters)"
            ) from error
        self.act_with(name, path)

    def act_with(self, name: str, path: str | Path) -> None:
        """Answer with an adapter that the server has loaded; should it be gone, as after a restart, it is loaded
        again."""
        self.model, self._adapter = name, (name, str(path))

    def generate(self, requests: Sequence[Request], regex: str, temperature: float, seeds: Sequence[int]) -> list[str]:
        """As `Backend.generate`."""
        answers = self.prefill(requests).generate(regex, [temperature], [[seed] for seed in seeds])
        return [answer for (answer,) in answers]

    def prefill(self, requests: Sequence[Request]) -> "ServerPrefilledBatch":
        """Encodes the frames. Nothing is sent yet."""
        return ServerPrefilledBatch(self, [_Prompt([_png(f) for f in r.frames], r.messages) for r in requests])

    def chat(self, bodies: Sequence[Mapping[str, Any]], feature: str) -> list[list[Choice]]:
        """The choices that answer each body. feature: what these bodies need of the server, for the message."""
        common = {"model": self.model, "stream": False, **PLAIN}
        bodies = [common | dict(body) for body in bodies]
        try:
            answers = self._post_all(f"{self.address.server}/chat/completions", bodies)
        except RefusedError as error:
            raise (UserError(f"{error}; what was asked for needs {feature}") if error.lacks else error) from error
        every = [sorted(read(Completion, a, self.address.server).choices, key=lambda c: c.index) for a in answers]
        for body, choices in zip(bodies, every, strict=True):
            if len(choices) != body.get("n", 1):
                raise UserError(
                    f"server {self.address.server} answered with {len(choices)} choices; valid: {body['n']}"
                )
        return every

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without special ones."""
        bodies = [{"model": self.model, "prompt": text, "add_special_tokens": False} for text in texts]
        return [read(Tokens, answer, self.address.server).tokens for answer in self._tokenizer("tokenize", bodies)]

    def texts(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence of token ids."""
        bodies = [{"model": self.model, "tokens": list(ids)} for ids in tokens]
        return [
            read(Detokenised, answer, self.address.server).prompt for answer in self._tokenizer("detokenize", bodies)
        ]

    def _post_all(self, url: str, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        try:
            return self.client.post_all(url, bodies)
        except RefusedError as error:
            if not error.is_unknown or self._adapter is None:
                raise
        self.load_adapter(*self._adapter)
        return self.client.post_all(url, bodies)

    def _tokenizer(self, route: str, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        try:
            return self._post_all(f"{self.address.root}/{route}", bodies)
        except RefusedError as error:
            needed = f"verdicts by token ids need /{route}, which vLLM has; valid: odds=top_logprobs"
            raise (UserError(f"{error}; {needed}") if error.lacks else error) from error


@dataclass(frozen=True)
class _Prompt:
    """images: data URLs, one for each image in `messages`."""

    images: list[str]
    messages: list[Message]

    def wire(self) -> list[dict[str, Any]]:
        """The messages in OpenAI's form."""
        images = iter(self.images)
        result = []
        for message in self.messages:
            parts = [
                {"type": "image_url", "image_url": {"url": next(images)}} if part["type"] == "image" else part
                for part in message["content"]
            ]
            result.append({"role": message["role"], "content": parts})
        if next(images, None) is not None:
            raise ValueError(f"{len(self.images)} frames, and fewer images in the messages")
        return result


class ServerPrefilledBatch:
    """Prompts, kept until something is asked about them: the server's prefix cache reads them once."""

    def __init__(self, backend: ServerBackend, prompts: Sequence[_Prompt]):
        self._backend, self._prompts, self.digits = backend, prompts, backend.digits

    def generate(self, regex: str, temperatures: Sequence[float], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        """As `PrefilledBatch.generate`. Raises UserError for an answer that does not match the regex."""
        lead, matches = self._backend.lead, re.compile(regex).fullmatch
        admitted = f"{lead}({regex})" if lead else regex
        bodies, columns = [], []  # columns: (row, the columns of the result that a body's choices fill)
        for row, (prompt, own) in enumerate(zip(self._prompts, seeds, strict=True)):
            messages = prompt.wire()
            for run in _runs(temperatures, own, self._backend.counts_seeds):
                greedy = not temperatures[run[0]]
                bodies.append(
                    {
                        "messages": messages,
                        "temperature": float(temperatures[run[0]]),
                        "n": 1 if greedy else len(run),
                        "seed": 0 if greedy else int(own[run[0]]),
                        "max_completion_tokens": self._backend.settings.max_new_tokens,
                        "structured_outputs": {"regex": admitted},
                        "regex": admitted,
                    }
                )
                columns.append((row, run))
        answers = [[""] * len(temperatures) for _ in self._prompts]
        choices = self._backend.chat(bodies, "answers by a regex (structured_outputs.regex of vLLM, regex of SGLang)")
        for (row, run), some in zip(columns, choices, strict=True):
            for column, choice in zip(run, some * len(run) if len(some) == 1 else some, strict=True):
                answers[row][column] = text = (choice.message.content or "").strip()
                if not matches(text):
                    raise self._mismatch(text, regex, choice)
        return answers

    def _mismatch(self, text: str, regex: str, choice: Choice) -> UserError:
        server, why = self._backend.address.server, "the server ignored structured_outputs.regex and regex"
        if choice.finish_reason == "length":
            why = f"it was cut after {self._backend.settings.max_new_tokens} tokens, or fewer if the server says so"
        return UserError(f"server {server} answered {text[:SHOWN]!r}, which does not match {regex[:SHOWN]!r}: {why}")

    def odds(self, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """As `PrefilledBatch.odds`, off the first token in which the two differ. Raises UserError where one text begins
        the other, and where the server does not say these probabilities."""
        read = self._odds_by_ids if self._backend.address.odds == "token_ids" else self._odds_by_text
        return np.array(read(texts, others), dtype=float)

    def _odds_by_ids(self, texts: Sequence[str], others: Sequence[str]) -> list[float]:
        backend = self._backend
        distinct = list(dict.fromkeys([*texts, *others]))
        ids = dict(zip(distinct, backend.tokens(distinct), strict=True))
        parts = [parting(text, other, ids[text], ids[other]) for text, other in zip(texts, others, strict=True)]
        prefixes = list(dict.fromkeys(shared for shared, _ in parts if shared))
        said = {(): ""} | dict(zip(prefixes, backend.texts(prefixes), strict=True))
        bodies = [
            _continued(prompt, said[shared])
            | {"logprobs": True, "logprob_token_ids": list(pair), "return_tokens_as_token_ids": True}
            for prompt, (shared, pair) in zip(self._prompts, parts, strict=True)
        ]
        answers = backend.chat(bodies, "verdicts by logprob_token_ids (vLLM 0.33); valid: odds=top_logprobs")
        return [self._odds(answer, pair) for (answer,), (_, pair) in zip(answers, parts, strict=True)]

    def _odds(self, choice: Choice, pair: tuple[int, int]) -> float:
        """The probability of the first of two tokens, given that it is one of them."""
        position = _first(choice)
        said = [position, *position.top_logprobs] if position else []
        found = {token.token: token.logprob for token in said}
        try:
            first, second = (found[f"token_id:{token}"] for token in pair)
        except KeyError as error:
            raise UserError(
                f"server {self._backend.address.server} does not say the probability of {error.args[0]!r}: "
                "verdicts need logprob_token_ids (vLLM 0.33); valid: odds=top_logprobs"
            ) from error
        return 1 / (1 + math.exp(min(second - first, 700.0)))

    def _odds_by_text(self, texts: Sequence[str], others: Sequence[str]) -> list[float]:
        """By the texts of the most probable tokens, after the words that the two texts share."""
        words = []
        for text, other in zip(texts, others, strict=True):
            if text.startswith(other) or other.startswith(text):
                raise do_not_part(text, other)
            n = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(text, other, strict=False)))
            start = max((m.start() for m in re.finditer(r"\s+", text[:n])), default=0)
            words.append((text[:start], text[start:].strip(), other[start:].strip()))
        bodies = [
            _continued(prompt, shared) | {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
            for prompt, (shared, *_) in zip(self._prompts, words, strict=True)
        ]
        answers = self._backend.chat(bodies, "verdicts by top_logprobs")
        return [self._odds_of_words(answer, *pair) for (answer,), (_, *pair) in zip(answers, words, strict=True)]

    def _odds_of_words(self, choice: Choice, text: str, other: str) -> float:
        position = _first(choice)
        top = position.top_logprobs if position else []

        def probability(word: str, against: str) -> float | None:
            """Of the tokens that begin the word and not the other one."""
            begun = [t for t in top if _begins(t, word) and not _begins(t, against)]
            return sum(math.exp(t.logprob) for t in begun) if begun else None

        both = [probability(text, other), probability(other, text)]
        if both == [None, None]:
            raise UserError(
                f"server {self._backend.address.server}: neither {text!r} nor {other!r} is among the "
                f"{len(top)} most probable tokens; valid: a model that answers so, or odds=token_ids"
            )
        least = math.exp(min(t.logprob for t in top))
        first, second = (least if p is None else p for p in both)
        return first / (first + second)

    def extend(self, prompts: Sequence[Sequence[list[Message]]], last: bool = False) -> "ServerPrefilledBatch":
        """As `PrefilledBatch.extend`; nothing is sent."""
        longer = [
            _Prompt(prompt.images, messages)
            for prompt, some in zip(self._prompts, prompts, strict=True)
            for messages in some
        ]
        return ServerPrefilledBatch(self._backend, longer)


def _png(frame: np.ndarray) -> str:
    """A data URL of a frame, (H, W, 3) uint8 RGB."""
    written, data = cv2.imencode(".png", frame[..., ::-1])
    if not written:
        raise ValueError(f"no PNG of a frame of shape {frame.shape}, {frame.dtype}")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _runs(temperatures: Sequence[float], seeds: Sequence[int], counting: bool) -> Iterator[list[int]]:
    """Columns that one request can draw: all greedy ones, and, where the server counts seeds up for its `n` samples,
    those of one temperature whose seeds do so too."""
    greedy = [k for k, temperature in enumerate(temperatures) if not temperature]
    if greedy:
        yield greedy
    run: list[int] = []
    for k in sorted(set(range(len(temperatures))) - set(greedy)):
        goes_on = counting and run and (temperatures[k], seeds[k]) == (temperatures[run[-1]], seeds[run[-1]] + 1)
        if run and not goes_on:
            yield run
            run = []
        run = [*run, k]
    if run:
        yield run


def _continued(prompt: _Prompt, said: str) -> dict[str, Any]:
    """A body that asks for the next token after a prompt and the beginning of its answer."""
    messages, one = prompt.wire(), {"temperature": 0.0, "n": 1, "seed": 0, "max_completion_tokens": 1}
    if not said:
        return one | {"messages": messages}
    begun = {"role": "assistant", "content": [{"type": "text", "text": said}]}
    return one | {"messages": [*messages, begun], "continue_final_message": True, "add_generation_prompt": False}


def _first(choice: Choice) -> Position | None:
    """The first token of an answer and the probabilities of others in its place, where the server says these."""
    content = choice.logprobs.content if choice.logprobs else None
    return content[0] if content else None


def _begins(token: Token, word: str) -> bool:
    return bool(token.token.strip()) and word.startswith(token.token.strip())
