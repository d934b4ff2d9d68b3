"""A chat completion as OpenAI, vLLM and SGLang ask for it -> what is asked of a backend, or one line that says why not.

Only what changes an answer in a way that a backend offers is valid. A setting that it does not offer is refused, not
ignored: the answer would not be what was asked for.
"""

import base64
import io
import re
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import xgrammar
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.serve.limits import Limits
from policies.backend import Request

ANYTHING = r"[\s\S]*"  # the regex of an answer for which none was asked
FORMATS = ("PNG", "JPEG", "WEBP")
UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what PIL raises
NEUTRAL = {  # settings of other samplers, at the values that change nothing
    "top_p": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "stream": (False,),
    "top_logprobs": (0,),
}


class RefusedError(Exception):
    """A request that cannot be answered: the message, in one line, and HTTP's status."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(" ".join(message.split())[:500])
        self.status = status


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Text(_Strict):
    type: Literal["text"]
    text: str


class _Url(BaseModel):
    model_config = ConfigDict(strict=True)  # `detail` may stand beside it
    url: str


class _ImageUrl(_Strict):
    type: Literal["image_url"]
    image_url: _Url


class _Message(_Strict):
    role: Literal["system", "user", "assistant"]
    content: str | list[Annotated[_Text | _ImageUrl, Field(discriminator="type")]]


class _Structured(_Strict):
    regex: str


class _Chat(_Strict):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[_Message], Field(min_length=1, max_length=256)]
    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 1.0
    n: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    structured_outputs: _Structured | None = None
    regex: str | None = None
    logprobs: bool = False
    logprob_token_ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None = None
    return_tokens_as_token_ids: bool = False
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    user: str | None = None


class TokenizeBody(_Strict):
    """The body of /tokenize."""

    prompt: str
    model: str | None = None
    add_special_tokens: Literal[False] = False


class DetokenizeBody(_Strict):
    """The body of /detokenize."""

    tokens: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=16_384)]
    model: str | None = None


class LoadBody(_Strict):
    """The body of /v1/load_lora_adapter."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadBody(_Strict):
    """The body of /v1/unload_lora_adapter."""

    lora_name: str


class _Asked:
    request: Request
    model: str

    @property
    def text(self) -> str:
        """All that the messages say."""
        parts = (part for message in self.request.messages for part in message["content"])
        return " ".join(part["text"] for part in parts if part["type"] == "text")


@dataclass(frozen=True)
class Answers(_Asked):
    """`n` answers to a prompt, at one temperature, with seeds that count up. max_tokens: of an answer; None: no limit
    but the backend's."""

    request: Request
    regex: str
    temperature: float
    n: int
    seed: int
    max_tokens: int | None
    model: str

    @property
    def rows(self) -> int:
        """How much of a call it fills."""
        return self.n

    @property
    def key(self) -> tuple:
        """Requests of the same key can be answered by one call."""
        return "answers", self.model, self.regex, self.temperature, self.n, self.request.frames.shape


@dataclass(frozen=True)
class Odds(_Asked):
    """The log-probabilities of two tokens after a prompt and `said`, the beginning of its answer."""

    request: Request
    said: str
    pair: tuple[int, int]
    model: str
    rows = 1

    @property
    def key(self) -> tuple:
        return "odds", self.model, self.request.frames.shape


def checked(kind: type[BaseModel], body: Any) -> Any:
    """A body of this kind. Raises RefusedError naming the bad value."""
    if not isinstance(body, dict):
        raise RefusedError(f"the body is {type(body).__name__}; valid: a JSON object")
    for name in NEUTRAL.keys() & body.keys():
        if body[name] is not None and (isinstance(body[name], list | dict) or body[name] not in NEUTRAL[name]):
            raise RefusedError(f"{name} = {str(body[name])[:100]} is not offered; valid: {NEUTRAL[name][0]}")
    body = {name: value for name, value in body.items() if name not in NEUTRAL}
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part)[:50] for part in first["loc"])
        valid = f"; valid: {', '.join(kind.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise RefusedError(f"{where}: {first['msg']}{valid}") from None


def asked(body: Any, names: Sequence[str], limits: Limits) -> Answers | Odds:
    """What the body of a chat completion asks for. names: of the models; the first answers where none is named.

    Raises RefusedError for a bad value, or for more than the limits.
    """
    chat = checked(_Chat, body)
    model = named(chat.model, names)
    if chat.continue_final_message == chat.add_generation_prompt:
        raise RefusedError("add_generation_prompt and continue_final_message; valid: one of them")
    texts = list(_texts(chat.messages))
    if sum(map(len, texts)) > limits.text:
        raise RefusedError(f"messages of {sum(map(len, texts))} characters; valid: at most {limits.text}", 413)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise RefusedError("messages with half a surrogate pair, which is no text") from None
    messages, said = chat.messages, ""
    if chat.continue_final_message:
        *messages, last = messages
        said = "".join(_texts([last]))
        if last.role != "assistant" or not messages:
            raise RefusedError("continue_final_message, but the last message is not the assistant's after others")
    request = _request(messages, limits)
    if chat.logprobs != (chat.logprob_token_ids is not None):
        raise RefusedError("logprobs without logprob_token_ids, or the other way; valid: both, or neither")
    if chat.logprob_token_ids:
        if chat.n != 1 or chat.max_completion_tokens not in (None, 1) or chat.regex or chat.structured_outputs:
            raise RefusedError("logprob_token_ids with more; valid: max_completion_tokens = 1, n = 1 and no regex")
        if chat.logprob_token_ids[0] == chat.logprob_token_ids[1]:
            raise RefusedError("logprob_token_ids are the same; valid: two")
        return Odds(request, said, tuple(chat.logprob_token_ids), model)
    if said:
        raise RefusedError("continue_final_message is offered with logprob_token_ids alone")
    if chat.n > limits.samples:
        raise RefusedError(f"n = {chat.n}; valid: at most {limits.samples}")
    seed = secrets.randbelow(2**62) if chat.seed is None else chat.seed
    limit = chat.max_completion_tokens or chat.max_tokens
    return Answers(request, _regex(chat, limits), chat.temperature, chat.n, seed, limit, model)


def named(asked_for: str | None, names: Sequence[str]) -> str:
    """The model that is asked for; the first where none is named. Raises RefusedError for one that is not served."""
    if asked_for is None:
        return names[0]
    if asked_for not in names:
        raise unknown_model(asked_for, names)
    return asked_for


def unknown_model(name: str, valid: Iterable[str]) -> RefusedError:
    return RefusedError(f"no model {name[:100]!r}; valid: {', '.join(map(repr, valid)) or 'none'}", 404)


def _texts(messages: list[_Message]) -> Iterator[str]:
    for message in messages:
        parts = message.content
        yield from [parts] if isinstance(parts, str) else (part.text for part in parts if isinstance(part, _Text))


def _regex(chat: _Chat, limits: Limits) -> str:
    both = {regex for regex in (chat.regex, chat.structured_outputs and chat.structured_outputs.regex) if regex}
    if len(both) > 1:
        raise RefusedError("structured_outputs.regex and regex differ; valid: one of them, or twice the same")
    regex = both.pop() if both else ANYTHING
    if len(regex) > limits.regex:
        raise RefusedError(f"a regex of {len(regex)} characters; valid: at most {limits.regex}")
    try:
        xgrammar.Grammar.from_regex(regex)
    except (RuntimeError, UnicodeError) as error:
        said = re.sub(r"^\[.*?\] \S+ ", "", str(error))  # the time and the line of xgrammar's source
        raise RefusedError(f"regex {regex[:100]!r}: {said}") from None
    return regex


def _request(messages: list[_Message], limits: Limits) -> Request:
    urls: list[str] = []
    plain = []
    for message in messages:
        parts = [_Text(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        content = []
        for part in parts:
            if isinstance(part, _Text):
                content.append({"type": "text", "text": part.text})
            else:
                content.append({"type": "image"})
                urls.append(part.image_url.url)
        plain.append({"role": message.role, "content": content})
    if len(urls) > limits.images:
        raise RefusedError(f"{len(urls)} images; valid: at most {limits.images}", 413)
    if not any(part["type"] == "text" for part in plain[-1]["content"]):
        raise RefusedError("the last message has no text; valid: one with text")
    frames = _frames(urls, limits.pixels)
    if len({frame.shape for frame in frames}) > 1:
        raise RefusedError(f"images of shapes {sorted({frame.shape for frame in frames})}; valid: of one shape")
    return Request(np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8), plain)


def _frames(urls: list[str], pixels: int) -> list[np.ndarray]:
    """(H, W, 3) uint8 each. The sizes are read off the headers, before anything is decoded."""
    opened = [_opened(url) for url in urls]
    found = sum(image.width * image.height for image in opened)
    if found > pixels:
        raise RefusedError(f"images of {found} pixels; valid: at most {pixels}", 413)
    return [_decoded(image) for image in opened]


def _opened(url: str) -> Image.Image:
    kind, comma, data = url.partition(",")
    if not comma or not re.fullmatch(r"data:image/\w+;base64", kind):
        raise RefusedError(f"image_url {url[:50]!r}; valid: data:image/png;base64,...; nothing is fetched")
    try:
        return Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=FORMATS)
    except Image.DecompressionBombError as error:  # of a header that says more pixels than PIL ever opens
        raise RefusedError(str(error), 413) from None
    except UNDECODABLE as error:
        raise RefusedError(f"an image that does not open: {type(error).__name__}: {error}") from None


def _decoded(image: Image.Image) -> np.ndarray:
    try:
        return np.array(image.convert("RGB"))
    except UNDECODABLE as error:
        raise RefusedError(f"an image that does not decode: {type(error).__name__}: {error}") from None
