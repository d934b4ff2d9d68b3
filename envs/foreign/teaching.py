"""Who shows a declared task, as its file says it: data alone, which `policies` and `agent` resolve.

`expert: FILE.zip`, `expert: {sb3: ppo, steps: 50000}`, or `expert: {demonstrations: lerobot:FOLDER}`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from envs.errors import UserError, shown
from envs.validation import STRICT, Count, checked

FORMATS = ("lerobot", "minari", "hdf5")  # of demonstrations; a folder without one holds episodes of `handeye rollout`
VALID = (
    "valid: FILE.zip of Stable-Baselines3, {sb3: ppo, steps: 50000}, "
    "or {demonstrations: FOLDER, lerobot:FOLDER, minari:FOLDER or hdf5:FILE}"
)


@dataclass(frozen=True, config=STRICT)
class _Asked:
    """The keys of an expert to be trained by Stable-Baselines3, as those of `handeye baseline`.

    until: the training stops early when so many evaluation episodes all succeed; 0: never. repeat: how often an action
    is taken while it trains; None: as the task's file says, once where that says nothing. params: arguments of the
    algorithm's class.
    """

    sb3: Literal["ppo", "sac", "dqn", "trpo"]
    steps: Count = 100_000
    observe: Literal["state", "pixels"] = "state"
    n_envs: Count = 4
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    normalize: bool = False
    until: Annotated[int, Field(ge=0)] = 20
    repeat: Count | None = None
    params: dict[str, bool | int | float] = dataclasses.field(default_factory=dict, hash=False)


@dataclass(frozen=True, config=STRICT)
class Sb3Expert(_Asked):
    """An expert to be trained by Stable-Baselines3. image_size: [px] of the task's own, which it is trained on."""

    image_size: int = 0


@dataclass(frozen=True)
class TrainedExpert:
    """A .zip of Stable-Baselines3."""

    path: Path


@dataclass(frozen=True)
class Demonstrations:
    """Recorded episodes. format: one of FORMATS, or empty for episodes of `handeye rollout`. path: a folder, of hdf5 a
    file."""

    format: str
    path: Path

    def __str__(self) -> str:
        return f"{self.format}:{self.path}" if self.format else str(self.path)


@dataclass(frozen=True, config=STRICT)
class _Recorded:
    demonstrations: Annotated[str, Field(min_length=1)]


ShownBy = Sb3Expert | TrainedExpert | Demonstrations


def shown_by(value: Any, beside: Path, repeat: int, image_size: int) -> ShownBy | None:
    """What the value of the key `expert` says; None for no value.

    beside: the folder of the task's file, which paths are relative to. repeat, image_size: the task's own. Raises
    UserError for what is none of these.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.endswith(".zip"):
        return TrainedExpert(beside / value)
    try:
        if isinstance(value, Mapping) and "sb3" in value:
            asked = checked(_Asked, value)
            own = {"repeat": asked.repeat or repeat, "image_size": image_size}
            return Sb3Expert(**dataclasses.asdict(asked) | own)
        if isinstance(value, Mapping) and "demonstrations" in value:
            recorded = checked(_Recorded, value).demonstrations
            head, colon, rest = recorded.partition(":")
            is_named = colon and head in FORMATS
            return Demonstrations(head, beside / rest) if is_named else Demonstrations("", beside / recorded)
    except UserError as error:
        raise UserError(f"config section 'expert': {error}") from error
    raise UserError(f"config key 'expert' = {shown(value)}; {VALID}")
