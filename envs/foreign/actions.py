"""Actions of any space as plain data: compared, counted as distinct, and stored as JSON in their own dtype.

An action is a number, an array, a text, or a dictionary or tuple of actions.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

DICT, TUPLE = "dict", "tuple"  # the names of structures, where those of dtypes are
_KINDS = "biuf"  # of numbers that are stored


def flattened(space: gym.Space, action: Any) -> Iterator[Any]:
    """The parts of an action, in the order of the space's `leaves`."""
    if isinstance(space, gym.spaces.Dict):
        for name, part in space.spaces.items():
            yield from flattened(part, action[name])
    elif isinstance(space, gym.spaces.Tuple):
        for part, item in zip(space.spaces, action, strict=True):
            yield from flattened(part, item)
    else:
        yield action


def rebuilt(space: gym.Space, parts: Iterator[Any]) -> Any:
    """The inverse of `flattened`."""
    if isinstance(space, gym.spaces.Dict):
        return {name: rebuilt(part, parts) for name, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(rebuilt(part, parts) for part in space.spaces)
    return next(parts)


def key(action: Any) -> bytes:
    """Equal for actions that are the same to the last bit, of one space."""
    if isinstance(action, Mapping):
        return _joined(part for name, item in action.items() for part in (str(name).encode(), key(item)))
    if isinstance(action, (tuple, list)):
        return _joined(map(key, action))
    return np.asarray(action).tobytes()


def same(one: Any, other: Any) -> bool:
    """Whether two actions have the same structure, shapes and numbers."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(item, other[name]) for name, item in one.items())
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if any(isinstance(action, (Mapping, tuple)) for action in (one, other)):
        return False
    return np.array_equal(one, other)


def stored(action: Any) -> str:
    """JSON that `restored` reads to the last bit: a number (int64), a text, the list of numbers of a (d,) float32
    action, and of any other array its dtype with its numbers, `{"float64": [0.1, -0.2]}`. A dictionary is `{"dict":
    [["camera", ...], ...]}`, a tuple `{"tuple": [...]}`."""
    return json.dumps(_plain(action))


def restored(text: str) -> Any:
    """The inverse of `stored`. Raises ValueError, KeyError, TypeError or RecursionError for what is no action."""
    return _action(json.loads(text))


def _joined(parts: Any) -> bytes:
    """The parts, each after its length: no two sequences of parts are the same."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _plain(action: Any) -> Any:
    if isinstance(action, Mapping):
        return {DICT: [[name, _plain(item)] for name, item in action.items()]}
    if isinstance(action, (tuple, list)):
        return {TUPLE: [_plain(item) for item in action]}
    if isinstance(action, str):
        return str(action)
    array = np.asarray(action)
    if array.dtype.kind in "iu" and not isinstance(action, np.ndarray):
        return int(action)
    if array.dtype == np.float32 and array.ndim == 1:
        return array.tolist()
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"an action of {array.dtype}: {action!r}")
    return {array.dtype.name: array.tolist()}


def _action(value: Any) -> Any:
    if type(value) is dict:
        ((kind, held),) = value.items()
        if kind == DICT:
            return {name: _action(item) for name, item in held}
        if kind == TUPLE:
            return tuple(map(_action, held))
        return _array(kind, held)
    return {list: np.float32, int: np.int64, str: np.str_}[type(value)](value)


def _array(kind: str, held: Any) -> np.ndarray:
    dtype = np.dtype(kind)
    if dtype.kind not in _KINDS or dtype.name != kind:
        raise ValueError(f"an action of {kind!r}")
    try:
        return np.array(held, dtype)
    except OverflowError as error:
        raise ValueError(f"an action of {kind} holds a number beyond it") from error
