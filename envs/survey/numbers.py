"""Numbers that play shows to change: those that an environment observes, and those among its public attributes."""

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

STATES = 500  # that are looked at, at most
ROW = 3  # numbers of an attribute, at most, such as a place in space
LIST = 6  # objects in an attribute, at most
DEPTH = 2  # attributes of attributes
MOST = 16  # numbers of attributes, at most, the outermost first
FORMER = ("init", "start", "prev", "last", "old")  # in names of what another attribute is now
ABSURD = 1e9  # a number beyond it is no place, speed or amount


class Numbers:
    """What the states of play held, by paths as `envs.foreign.paths` has them."""

    def __init__(self) -> None:
        self._begins: list[bool] = []
        self._observed: list[dict[str, float]] = []
        self._attributes: list[dict[str, float]] = []

    def look(self, observation: Any, env: gym.Env, begins: bool) -> None:
        """At a state of play. begins: after a reset, not a step."""
        if len(self._observed) < STATES:
            self._begins.append(begins)
            self._observed.append(dict(_observed(observation, "observation")))
            self._attributes.append(dict(_attributes(env.unwrapped, "", DEPTH)))

    def still(self) -> frozenset[str]:
        """The numbers of the observation that were always the same."""
        return frozenset(path for path, values in _columns(self._observed).items() if not np.ptp(values))

    def hidden(self) -> tuple[str, ...]:
        """The attributes' numbers that changed, but for counters of steps and for what the observation or another
        attribute says as well: in the order of their paths' lengths, those of a former time last, at most MOST."""
        known = {values.tobytes() for values in _columns(self._observed).values()}
        paths = []
        columns = _columns(self._attributes)
        for path in sorted(columns, key=lambda path: (path.count("."), any(word in path.lower() for word in FORMER))):
            values = columns[path]
            if np.ptp(values) and values.tobytes() not in known and not self._is_counter(values):
                known.add(values.tobytes())
                paths.append(path)
        return tuple(paths[:MOST])

    def _is_counter(self, values: np.ndarray) -> bool:
        """Whether it changes by the same amount in every step."""
        steps = np.diff(values)[~np.array(self._begins[1:], bool)]
        return bool(steps.size and steps[0] and np.allclose(steps, steps[0]))


def _columns(rows: list[dict[str, float]]) -> Mapping[str, np.ndarray]:
    """Path -> its number in each state, of those that every state has."""
    always = [path for path in (rows[0] if rows else ()) if all(path in row for row in rows)]
    return {path: np.array([row[path] for row in rows]) for path in always}


def _observed(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _observed(inner, f"{path}.{key}")
    elif isinstance(value, tuple):
        for i, inner in enumerate(value):
            yield from _observed(inner, f"{path}.{i}")
    elif np.ndim(value) < 2 and np.size(value) <= 64:  # pictures are no numbers to be told
        yield from _row(value, path)


def _row(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """A number, or each of several."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):  # texts, objects, rows of several lengths
        return
    if array.ndim < 2 and array.size and np.all(np.abs(array) < ABSURD):
        yield from (
            [(path, float(array))] if not array.ndim else ((f"{path}.{i}", float(x)) for i, x in enumerate(array))
        )


def _attributes(holder: Any, path: str, depth: int) -> Iterator[tuple[str, float]]:
    """The numbers of public attributes, and of those that these hold."""
    for name, value in getattr(holder, "__dict__", {}).items():
        if name.startswith("_") or isinstance(value, (bool, str, type)) or callable(value):
            continue
        here = f"{path}.{name}" if path else name
        if isinstance(value, (int, float, np.generic)) or (
            isinstance(value, (tuple, list, np.ndarray)) and np.size(_flat(value)) in range(1, ROW + 1)
        ):
            yield from _row(value, here)
        elif depth > 1 and isinstance(value, (list, tuple)) and len(value) <= LIST:
            for i, each in enumerate(value):
                yield from _attributes(each, f"{here}.{i}", depth - 1)
        elif depth > 1:
            yield from _attributes(value, here, depth - 1)


def _flat(value: Any) -> Any:
    """Numbers in a row; an empty one of what holds anything else."""
    if isinstance(value, np.ndarray):
        return value if value.ndim == 1 and value.dtype.kind in "iuf" else ()
    return value if all(isinstance(each, (int, float, np.generic)) for each in value) else ()
