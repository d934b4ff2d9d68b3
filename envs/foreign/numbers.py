"""A number of an environment by its path (`envs.foreign.paths`), and those of the last `info`, which are kept."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import UserError, shown
from envs.foreign.paths import Observer, value_at
from envs.foreign.values import number


def as_number(value: Any, path: str) -> float:
    """The value at a path as a number. Raises UserError for what is no finite number, naming the paths in it."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, (np.ndarray, list, tuple)) and len(value):
        n = len(value)
        raise UserError(f"{path} is {n} numbers or more; valid: one, as {path}.0, or several, as {path}.0:{n}")
    if isinstance(value, Mapping):
        names = ", ".join(f"{path}.{key}" for key in value)
        raise UserError(f"{path} has parts; valid: {shown(names)[1:-1] or 'none, there is nothing in it'}")
    plain = number(value, path)
    if not isfinite(plain):
        raise UserError(f"{path} is {plain}; valid: a finite number")
    return plain


class InfoNumbers(Observer):
    """Keeps those numbers of the last `info` that state words are made of: a state that is restored has them too.

    info_numbers: path, such as `info.player.0` -> the number, or the message that it is not there.
    """

    def __init__(self, env: gym.Env[Any, Any], paths: Sequence[str]):
        super().__init__(env)
        self.paths, self.info_numbers = tuple(paths), {}

    def look(self, observation: Any, info: Mapping[str, Any], begins: bool) -> None:
        """Raises UserError for what is there and no number."""
        self.info_numbers = {}
        for path in self.paths:
            try:
                value = value_at(path, None, info, self.env)
            except UserError as error:
                self.info_numbers[path] = str(error)
            else:
                self.info_numbers[path] = as_number(value, path)
