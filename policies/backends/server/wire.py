"""What a model server answers, in OpenAI's form, as far as it is read here; keys beside these are ignored."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from envs.errors import UserError
from policies.backends.settings import ModelSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Token:
    token: str
    logprob: Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Position(Token):
    top_logprobs: list[Token]


@dataclass(frozen=True)
class Logprobs:
    content: list[Position] | None = None


@dataclass(frozen=True)
class Said:
    content: str | None = None


@dataclass(frozen=True)
class Choice:
    message: Said
    index: int = 0
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


@dataclass(frozen=True)
class Completion:
    choices: list[Choice]


@dataclass(frozen=True)
class Tokens:
    tokens: list[int]


@dataclass(frozen=True)
class Detokenised:
    prompt: str


@dataclass(frozen=True)
class Model:
    """parent: of a LoRA adapter, the model that it was loaded over.

    Our own server also says how its policy is asked: what of the chat template decides it (`TemplateTraits`), and its
    settings. image_size: [px] of frames; None: each task's own. weights_sha256: of the policy's folder; base_sha256: of
    the whole model in it or under its adapters (`weights_sha256` of `policies.backends.adapters.weights`).
    """

    id: str
    owned_by: str = ""
    parent: str | None = None
    weights_sha256: str | None = None
    base_sha256: str | None = None
    is_embedded: bool = False
    system: bool = True
    dialect: Literal["auto", "terse", "chat"] = "auto"
    examples: int = ModelSettings.examples
    image_size: int | None = None


@dataclass(frozen=True)
class Models:
    data: list[Model]


_READERS = {kind: TypeAdapter(kind) for kind in (Completion, Tokens, Detokenised, Models)}


def read(kind: type[T], answer: Any, server: str) -> T:
    """What a server answered, as one of these types. Raises UserError where it is something else."""
    try:
        return _READERS[kind].validate_python(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise UserError(
            f"server {server} answered nonsense: {where}: {first['msg']}, in {str(answer)[:200]!r}"
        ) from error
