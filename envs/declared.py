"""Any Gymnasium environment as a task, from a YAML file and without code."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from envs.reading import checked, read
from envs.task import Task
from envs.wrappers import SuccessRule

_STRICT = ConfigDict(extra="forbid")
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=_STRICT)
class Rule:
    """See `envs.wrappers.SuccessRule`."""

    of: str
    at_least: float = SuccessRule.at_least
    at_most: float = SuccessRule.at_most
    at_the_end: bool = False
    source: str = ""


@dataclass(frozen=True, config=_STRICT)
class Declared:
    """What a file says of a task. max_steps: of `env.step`; null: as the environment is registered."""

    id: str
    instruction: str
    success: Rule
    kwargs: dict[str, Any] = Field(default_factory=dict)
    max_steps: Count | None = None
    repeat: Count = 1
    camera: str | dict[str, Any] = ""
    image_size: Count = 64
    frames: Count = 1
    levels: Annotated[int, Field(ge=3)] = 9
    actions: tuple[str, ...] = ()
    split: Literal["practice", "heldout"] = "practice"


@cache
def declared(path: str) -> Task:
    """The task in a YAML file, whose name is the file's path. Raises UserError naming a bad key or value."""
    told = checked(Declared, read(Path(path)))
    limit = {"max_episode_steps": told.max_steps} if told.max_steps else {}
    rule = SuccessRule(
        told.success.of, told.success.at_least, told.success.at_most, told.success.at_the_end, told.success.source
    )
    return Task(
        path,
        told.id,
        "declared",
        told.split,
        told.kwargs | limit,
        success=rule,
        image_size=told.image_size,
        camera=told.camera,
        frames=told.frames,
        repeat=told.repeat,
        levels=told.levels,
        actions=told.actions,
        instruction=lambda env: told.instruction,
    )
