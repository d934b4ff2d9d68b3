"""A number somewhere in what an environment gives: `position.1` of its observation, its `info`, or itself."""

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import UserError, close_to, shown
from envs.foreign.values import number

FEW = 12  # names that an error lists in full
Stepped = tuple[Any, Any, bool, bool, dict[str, Any]]


class AbsentError(UserError):
    """A key, an index or an attribute that is not there."""


def found(value: Any, path: Sequence[str], where: str) -> float:
    """The number at a path of keys, indices and attributes. where: the name of `value`, in errors.

    Raises AbsentError for a key, an index or an attribute that is not there, naming the valid ones, and UserError for
    what is no finite number.
    """
    for step in path:
        value = _inside(value, step, where)
        where = f"{where}.{step}"
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, (np.ndarray, list, tuple)) and len(value):
        n = len(value)
        raise UserError(f"{where} is {n} numbers or more; valid: one, as {where}.0, or several, as {where}.0:{n}")
    if isinstance(value, Mapping):
        raise UserError(f"{where} has parts; {_valid(map(str, value), '', where)}")
    plain = number(value, where)
    if not isfinite(plain):
        raise UserError(f"{where} is {plain}; valid: a finite number")
    return plain


def _inside(value: Any, step: str, where: str) -> Any:
    if isinstance(value, Mapping):
        for key in (step, int(step) if _is_index(step) else step):
            if key in value:
                return value[key]
        raise AbsentError(f"{where} has no {step!r}; {_valid(map(str, value), step, where)}")
    if isinstance(value, (Real, np.generic)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        raise AbsentError(f"{where} is one number, and has no {step!r}; valid: {where}")
    if isinstance(value, (np.ndarray, Sequence)) and not isinstance(value, str):
        n = len(value)
        if not _is_index(step) or not -n <= int(step) < n:
            raise AbsentError(f"{where} has no {step!r}; valid: 0 to {n - 1}" if n else f"{where} is empty")
        return value[int(step)]
    try:
        return getattr(value, step)
    except AttributeError as error:
        names = [name for name in dir(value) if not name.startswith("__")]
        raise AbsentError(f"{where}, {_named(value)}, has no {step!r}; {_valid(names, step, where)}") from error


def _is_index(step: str) -> bool:
    return step.removeprefix("-").isdecimal()


def _named(value: Any) -> str:
    return f"of type {type(value).__name__}" if hasattr(value, "__dict__") else shown(value, 60)


def _valid(names: Any, step: str, where: str) -> str:
    names = sorted(names)
    if not names:
        return f"valid: none, {where} is empty"
    return f"valid: {', '.join(names)}" if len(names) <= FEW else close_to(step, names)


class InfoNumbers(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps those numbers of the last `info` that state words are made of: a state that is restored has them too.

    info_numbers: path, such as `player.0` -> the number, or the message that it is not there.
    """

    def __init__(self, env: gym.Env[Any, Any], paths: Sequence[str]):
        super().__init__(env)
        self.paths, self.info_numbers = tuple(paths), {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self.info_numbers = {path: _told(info, path) for path in self.paths}
        return observation, info

    def step(self, action: Any) -> Stepped:
        result = self.env.step(action)
        self.info_numbers = {path: _told(result[-1], path) for path in self.paths}
        return result


def _told(info: Any, path: str) -> float | str:
    """Raises UserError for what is there and no number."""
    try:
        return found(info, path.split("."), "info")
    except AbsentError as error:
        return str(error)
