"""A recorded episode, whichever program recorded it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Demonstration:
    """name: of the episode, for messages. actions: T, in the environment's action space. seed, options: of the reset
    that it began with; seed is None where none was recorded. instruction: empty where none was recorded.

    pictures: reads what was recorded before each action, (T, cameras, H, W, 3) uint8; None without pictures. cameras:
    their names; empty where they are in the order of the task's. fps: actions per second; None where none was recorded.
    states: (T, 1 + nq + nv), MuJoCo's before each action (`states.py`); None without.
    """

    name: str
    actions: Sequence[Any]
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    instruction: str = ""
    pictures: Callable[[], np.ndarray] | None = None
    fps: float | None = None
    cameras: tuple[str, ...] = ()
    states: np.ndarray | None = None
