"""Plain values, of which attributes of environments consist: copied, packed, and hashed."""

import marshal
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from envs.observation import decode_png, encode_png

LARGE = 16  # items of a structure whose hashed bytes are kept
KEPT = 16  # structures whose hashed bytes are kept
MOST_BYTES = 1 << 20  # of such a structure, serialised
_IMMUTABLE = (int, float, bool, str, bytes, type(None), np.generic)
_HASHED: dict[bytes, bytes] = {}  # a structure in Python's serialisation -> what `feed` gives a digest of it


class NotPlainError(Exception):
    """Something whose state nobody here knows how to copy."""


@dataclass(frozen=True)
class GeneratorState:
    """State of a random generator."""

    state: dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """An array (..., H, W, 3) uint8, such as a frame history holds, as PNGs: snapshots are kept by the thousand."""

    shape: tuple[int, ...]
    pngs: tuple[bytes, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> "Pictures":
        return cls(array.shape, tuple(map(encode_png, array.reshape(-1, *array.shape[-3:]))))

    def unpacked(self) -> np.ndarray:
        return np.stack(list(map(decode_png, self.pngs))).reshape(self.shape)


@dataclass(frozen=True)
class Hashed:
    """In place of a structure, what `feed` gives a digest of it."""

    numbers: bytes


class Digest(Protocol):
    """What bytes are fed to: hashlib's digests, or `_Bytes`."""

    def update(self, data: bytes, /) -> object: ...


class _Bytes(bytearray):
    """Keeps what it is fed."""

    update = bytearray.extend


def copied(value: Any) -> Any:
    """Raises NotPlainError for what is not plain, or holds something that is not."""
    if isinstance(value, _IMMUTABLE):
        return value
    if isinstance(value, Pictures):
        return value.unpacked()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    if isinstance(value, np.random.Generator):
        return GeneratorState(value.bit_generator.state)
    if type(value) in (list, tuple, set, frozenset):
        return type(value)([copied(item) for item in value])
    if type(value) is deque:
        return deque((copied(item) for item in value), value.maxlen)
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    raise NotPlainError(type(value).__name__)


def packed(value: Any) -> Any:
    """A copied value with its pictures as PNGs; `copied` unpacks them."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape[2:] and value.shape[-1] == 3:
        return Pictures.of(value) if value.size else value
    if type(value) in (list, tuple):
        return type(value)([packed(item) for item in value])
    if type(value) is deque:
        return deque(map(packed, value), value.maxlen)
    if type(value) is dict:
        return {key: packed(item) for key, item in value.items()}
    return value


def without_generators(value: Any) -> Any:
    """A copied value without the states of random generators that dicts and rows hold."""
    if isinstance(value, dict):
        return {key: without_generators(item) for key, item in value.items() if not isinstance(item, GeneratorState)}
    if isinstance(value, (list, tuple, deque)):
        return [without_generators(item) for item in value if not isinstance(item, GeneratorState)]
    return value


def to_feed(value: Any) -> Any:
    """A copy, or, of a large structure, what `feed` gives a digest of it. Raises NotPlainError as `copied` does.

    A table of transitions or a race track has thousands of numbers, which seldom change from step to step. What is fed
    of them is found again by Python's own serialisation (marshal), some twenty times as fast as to go through them
    here. It refuses what holds a random generator.
    """
    if type(value) not in (dict, list, tuple) or len(value) < LARGE:
        return copied(value)
    try:
        content = marshal.dumps(value, 2)  # version 2: without references, which depend on identity
    except ValueError:  # it cannot be serialised
        return copied(value)
    if len(content) > MOST_BYTES:
        return copied(value)
    if content not in _HASHED:
        numbers = _Bytes()
        feed(copied(value), numbers)
        if len(_HASHED) >= KEPT:
            _HASHED.pop(next(iter(_HASHED)))
        _HASHED[content] = bytes(numbers)
    return Hashed(_HASHED[content])


def feed(value: Any, digest: Digest) -> None:
    """Feed the numbers in `value`: text may hold a path, which other machines do not share."""
    if isinstance(value, dict):
        # what is not there yet, such as a surface that the first picture is drawn on, is no part of the state
        for key in sorted((key for key in value if value[key] is not None), key=str):
            digest.update(str(key).encode())
            feed(value[key], digest)
    elif isinstance(value, GeneratorState):
        feed(value.state, digest)
    elif isinstance(value, Hashed):
        digest.update(value.numbers)
    elif isinstance(value, (list, tuple, deque)):
        for item in value:
            feed(item, digest)
    elif isinstance(value, np.ndarray):
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, np.generic):  # environments hold now one kind of number, now the other
        feed(value.item(), digest)
    elif isinstance(value, (int, float)):
        digest.update(repr(value).encode())
