"""A value of an environment by its path: `observation.mission`, `observation[3]`, `info.agent.x`, `info['my key']`, or
an attribute path of the environment itself, `task.language` or `physics.named.data.geom_xpos['target']`.

`observation` and `info` are those of the last reset or step, as the environment gave them. Every other path begins at
an attribute of `env.unwrapped`, or, where that has none of the name, of a wrapper. A part after a dot is a key of a
mapping, else an attribute, else an index; a part in brackets is an index, a slice such as `[0:3]`, or a key. A part
that ends in `()` is a method that takes nothing.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.errors import UserError, nearest, shown, unknown

ROOTS = ("observation", "info")
FORM = "valid: parts such as observation.mission, observation[3], info.x or an attribute of the environment"
MOST_NAMED = 40  # valid parts that are listed; of more, those that are most like it
_PART = re.compile(
    r"(?:(?P<dot>^|\.)(?P<name>\w+)(?P<call>\(\))?)"
    r"|\[(?:(?P<index>-?\d+)|(?P<low>-?\d*):(?P<high>-?\d*)|'(?P<one>[^']*)'|\"(?P<two>[^\"]*)\")\]"
)


class Part(NamedTuple):
    """One step of a path. key: text, an index or a slice. kind: `name` after a dot, `call` of a method, or `item`."""

    key: str | int | slice
    kind: str
    until: str  # the path up to and with this part


@cache
def parts(path: str) -> tuple[Part, ...]:
    """The parts of a path. Raises UserError for a text that is none."""
    found, at = [], 0
    while at < len(path) and (match := _PART.match(path, at)):
        at = match.end()
        if match["name"]:
            found.append(Part(match["name"], "call" if match["call"] else "name", path[:at]))
        elif match["index"]:
            found.append(Part(int(match["index"]), "item", path[:at]))
        elif match["low"] is not None:
            ends = (int(end) if end else None for end in (match["low"], match["high"]))
            found.append(Part(slice(*ends), "item", path[:at]))
        else:
            found.append(Part(match["one"] if match["one"] is not None else match["two"], "item", path[:at]))
    if at < len(path) or not found or found[0].kind == "item":
        raise UserError(f"path {shown(path)} cannot be read at {shown(path[at:])}; {FORM}")
    return tuple(found)


def value_at(path: str, observation: Any, info: Mapping[str, Any], env: gym.Env[Any, Any]) -> Any:
    """The value at a path. Raises UserError naming the part that is missing, and the valid ones in its place."""
    first, *rest = parts(path)
    if first.key in ROOTS and first.kind == "name":
        value = observation if first.key == "observation" else info
    else:
        value = _of_environment(first, path, env)
    for part in rest:
        value = _next(value, part, path)
    return value


def text_at(path: str, observation: Any, info: Mapping[str, Any], env: gym.Env[Any, Any]) -> str:
    """The text at a path, in one line. Raises UserError for what is no text, or an empty one."""
    return as_text(value_at(path, observation, info, env), path)


def as_text(value: Any, path: str) -> str:
    """The value at a path as a text in one line. Raises UserError for what is no text, or an empty one."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value.item()
    if not isinstance(value, str) or not value.split():
        raise UserError(f"{path} is {shown(value, 60)} ({type(value).__name__}); valid: a path to a text")
    return " ".join(value.split())


class Observer(gym.Wrapper[Any, Any, Any, Any]):
    """Looks at what each reset and step gives."""

    def look(self, observation: Any, info: Mapping[str, Any], begins: bool) -> None:
        """begins: after a reset."""
        raise NotImplementedError

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self.look(observation, info, begins=True)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        result = self.env.step(action)
        self.look(result[0], result[-1], begins=False)
        return result


class Held(Observer):
    """Holds values of the environment, by their paths, as they were after the last reset or step that told them: `info`
    may name a mission at the reset alone. A snapshot of the state holds them too."""

    def __init__(self, env: gym.Env[Any, Any], paths: Sequence[str]):
        """Raises UserError for a text that is no path."""
        super().__init__(env)
        self.paths = tuple(path for path in paths if parts(path))
        self._values: dict[str, Any] = {}
        self._missing: dict[str, str] = {}  # why a value has not been told in this episode

    def look(self, observation: Any, info: Mapping[str, Any], begins: bool) -> None:
        if begins:
            self._values, self._missing = {}, {}
        for path in self.paths:
            try:
                self._values[path] = deepcopy(value_at(path, observation, info, self.env))
            except UserError as error:
                self._missing[path] = str(error)

    def held(self, path: str) -> Any:
        """The value. Raises UserError, as `value_at` does, for one that has not been told in this episode."""
        if path not in self._values:
            raise UserError(self._missing.get(path, f"{path} is asked for before a reset"))
        return self._values[path]


def _of_environment(part: Part, path: str, env: gym.Env[Any, Any]) -> Any:
    inner = env.unwrapped
    if hasattr(inner, str(part.key)):
        return _next(inner, part, path)
    if env.has_wrapper_attr(str(part.key)):
        value = env.get_wrapper_attr(str(part.key))
        return _called(value, part, path) if part.kind == "call" else value
    raise _missing(part, path, [*ROOTS, *_attributes(inner)])


def _next(value: Any, part: Part, path: str) -> Any:
    if part.kind == "call":
        return _called(_attribute(value, part, path), part, path)
    if part.kind == "name" and isinstance(value, Mapping):
        if part.key in value:
            return value[part.key]
        raise _missing(part, path, map(str, value))
    if part.kind == "name" and not (str(part.key).isdecimal() and isinstance(value, (Sequence, np.ndarray))):
        return _attribute(value, part, path)
    key = int(part.key) if part.kind == "name" else part.key
    try:
        return value[key]
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(value, Mapping):
            raise _missing(part, path, map(str, value)) from error
        if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
            valid = f"0 to {len(value) - 1}" if np.ndim(value) else "none, it is one number"
            raise UserError(f"{path}: no {part.until}; valid there: {valid}") from error
        raise UserError(f"{path}: no {part.until}, {type(value).__name__} has no such item") from error


def _attribute(value: Any, part: Part, path: str) -> Any:
    try:
        return getattr(value, str(part.key))
    except AttributeError as error:
        if isinstance(value, np.ndarray):
            valid = ", ".join(f"[{i}]" for i in range(min(len(value), 3))) if value.ndim else "none, it is one number"
            raise UserError(f"{path}: no {part.until}; valid there, an array of {value.shape}: {valid}") from error
        raise _missing(part, path, _attributes(value)) from error


def _called(method: Any, part: Part, path: str) -> Any:
    if not callable(method):
        raise UserError(f"{path}: {part.until} is {type(method).__name__}, no method; valid: without ()")
    try:
        return method()
    except TypeError as error:
        said = f"{part.until} raised TypeError: {error}"
        raise UserError(f"{path}: {said}; valid: a method that takes nothing") from error


def _attributes(value: Any) -> list[str]:
    """The names that may follow a dot: public ones, or, where there are none, all but Python's own."""
    names = [name for name in dir(value) if not name.startswith("__")]
    return [name for name in names if not name.startswith("_")] or names


def _missing(part: Part, path: str, valid: Any) -> UserError:
    names = list(valid)
    what = f"part {part.until!r} of path {path!r}:"
    if not names:
        return UserError(f"unknown {what} {part.key!r}; valid: none, there is nothing in it")
    if len(names) > MOST_NAMED:
        return UserError(f"unknown {what} {part.key!r}; {nearest(str(part.key), names)}")
    return unknown(what, part.key, names)
