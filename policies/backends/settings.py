"""How a model is loaded and asked: the section `model` of a config. Nothing here imports torch."""

import json
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass
from tyro.conf import Fixed, Suppress

from envs.validation import STRICT, Count, checked
from policies.backends.checkpoint.records import read_json

ASKED = "how_asked.json"  # in a checkpoint's folder
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class Lora:
    """Low-rank adapters (LoRA, Hu et al., 2021) in the place of training all weights: the fields of peft's LoraConfig.

    targets: the linear layers that get one, those of the language model (`decoder`) or of the vision tower too (`all`).
    modules_to_save: parts that are trained whole beside the adapters, such as a projector that is new.
    """

    r: Count = 16
    alpha: Count = 32
    dropout: Fraction = 0.0
    targets: Literal["decoder", "all"] = "decoder"
    modules_to_save: tuple[str, ...] = ()


@dataclass(frozen=True, config=STRICT)
class ModelSettings:
    """How a policy's model is loaded, shown frames, asked and trained."""

    device: str = "auto"  # auto takes an accelerator where there is one, but for models below 100 MB
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: float32 on a CPU, bfloat16 elsewhere
    attention: str | None = None  # transformers' attn_implementation, such as sdpa
    quantise: Literal["none", "int8", "nf4"] = "none"
    """of the weights under adapters, by bitsandbytes; with int8 an answer depends a little on what shares its batch"""
    block: Count | Literal["auto"] | None = "auto"
    """prompts that are read in one pass (n answers to each are n times as many rows); auto: on a CPU 4 to 32, among
    which a row's result does not depend on their number, and elsewhere no bound; a number: always as many, the last
    pass filled up; None: no bound"""
    image_size: Count | Literal["auto"] = "auto"  # of rendered frames [px]; auto: what the model's processor wants
    processor: dict[str, Any] = field(default_factory=dict)  # arguments of transformers' AutoProcessor
    trust_remote_code: bool = False  # run Python that a checkpoint brings
    dialect: Literal["auto", "terse", "chat"] = "auto"  # auto is terse for the embedded model, chat for others
    examples: NonNegativeInt = 3  # turns of the chat dialect that show how to answer
    max_new_tokens: Count = 512  # of an answer
    base: str | None = None  # folder or hub id of the base under a checkpoint's adapters, if not where it was
    shared: bool | Literal["auto"] = "auto"  # one process acts for all workers; auto: on an accelerator
    devices: Count = 1  # that train, each in a process with the whole model; acting takes one
    lora: Suppress[Fixed[Lora | None]] = None  # train adapters, not all weights


@dataclass(frozen=True, config=STRICT)
class _Kept:
    """What a checkpoint's folder says of how it was asked in training."""

    dialect: Literal["auto", "terse", "chat"]
    examples: NonNegativeInt
    image_size: Annotated[int, Field(ge=8, le=2048)] | Literal["auto"]  # envs.task.SIZES, whose module loads mujoco


def remember(settings: ModelSettings, folder: Path) -> None:
    """Write into a checkpoint's folder how it was asked in training, where that is not the default."""
    kept = {"dialect": settings.dialect, "examples": settings.examples, "image_size": settings.image_size}
    if any(value != getattr(ModelSettings, name) for name, value in kept.items()):
        (folder / ASKED).write_text(json.dumps(kept, indent=1) + "\n")


def recalled(settings: ModelSettings, folder: Path) -> ModelSettings:
    """The settings, with the dialect and the frame size that a checkpoint was trained with in the place of `auto`."""
    if not (folder / ASKED).is_file():
        return settings
    kept = checked(_Kept, read_json(folder / ASKED))
    return as_kept(settings, kept.dialect, kept.examples, kept.image_size)


def as_kept(settings: ModelSettings, dialect: str, examples: int, image_size: int | str) -> ModelSettings:
    """The settings, with these in the place of `auto`; a number of examples that was asked for stays."""
    if settings.dialect == "auto":
        asked_for = settings.examples != ModelSettings.examples
        settings = replace(settings, dialect=dialect, examples=settings.examples if asked_for else examples)
    return replace(settings, image_size=image_size) if settings.image_size == "auto" else settings
