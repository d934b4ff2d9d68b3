"""A state that is not all numbers, copied in ways that need a trial: whether what follows is the same.

An environment may clone its own state, as the Arcade Learning Environment does. All that Python holds of it and its
wrappers is pickled, which makes a deep copy that may be sent to another process. What refuses to be pickled, such as a
window, is left as it is.
"""

import inspect
import io
import pickle
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from envs.foreign.resets.simulation import simulators

_REFUSALS = (pickle.PicklingError, TypeError, AttributeError, ValueError, NotImplementedError, RuntimeError)
PROTOCOL = 4  # the last whose arrays own their memory: those of 5 are views, which nobody can tell from `is_window`
LEVEL = 1  # of compression: snapshots are kept by the thousand


def is_window(value: Any) -> bool:
    """Whether it is a view of memory that numpy does not own, such as a body's position in MuJoCo's data: it follows
    that memory, and a copy would not."""
    if not isinstance(value, np.ndarray):
        return False
    while isinstance(value, np.ndarray) and value.base is not None:
        value = value.base
    return not isinstance(value, np.ndarray)


def can_clone(env: gym.Env[Any, Any]) -> bool:
    """Whether the environment clones its own state."""
    inner = env.unwrapped
    return callable(getattr(inner, "clone_state", None)) and callable(getattr(inner, "restore_state", None))


class Copier:
    """Copies what Python holds of the layers of an environment: its wrappers from outside in, and itself."""

    def __init__(self) -> None:
        self._left: dict[int, frozenset[str]] = {}  # layer -> attributes that refuse to be pickled

    def copy(self, layers: Sequence[Any], clones: bool, observation: Any) -> bytes:
        """A pickle, compressed. clones: with the state that the environment clones. Raises TypeError or what else a
        pickle raises where that state or the observation refuses."""
        try:
            return self._copy(layers, clones, observation)
        except _REFUSALS:
            self._left = {i: frozenset(_refused(layer, layers)) for i, layer in enumerate(layers)}
            return self._copy(layers, clones, observation)

    def put(self, layers: Sequence[Any], copied: bytes) -> Any:
        """Put a copy into layers of this kind; returns the observation that was copied with it."""
        held, spaces, clone, observation = _loaded(zlib.decompress(copied), layers)
        for layer, (names, attributes), drawn in zip(layers, held, spaces, strict=True):
            for name in vars(layer).keys() - names:
                del vars(layer)[name]
            vars(layer).update(attributes)
            for name, generators in drawn.items():
                _put_generators(vars(layer)[name], iter(generators))
        if clone is not None:
            layers[-1].restore_state(clone)
        return observation

    def _copy(self, layers: Sequence[Any], clones: bool, observation: Any) -> bytes:
        held = [(frozenset(vars(layer)), self._attributes(i, layer)) for i, layer in enumerate(layers)]
        spaces = [
            {name: list(_generators(value)) for name, value in vars(layer).items() if isinstance(value, gym.Space)}
            for layer in layers
        ]
        clone = _clone(layers[-1]) if clones else None
        return zlib.compress(_dumped((held, spaces, clone, observation), layers), LEVEL)

    def _attributes(self, i: int, layer: Any) -> dict[str, Any]:
        left = self._left.get(i, frozenset()) | set(getattr(layer, "set_by_reset", ()))
        return {name: value for name, value in vars(layer).items() if name not in left and not is_window(value)}


def _clone(inner: gym.Env[Any, Any]) -> Any:
    takes = inspect.signature(inner.clone_state).parameters
    return inner.clone_state(include_rng=True) if "include_rng" in takes else inner.clone_state()


def _refused(layer: Any, layers: Sequence[Any]) -> Iterator[str]:
    """The attributes of a layer that refuse to be pickled."""
    for name, value in vars(layer).items():
        try:
            _dumped(value, layers)
        except _REFUSALS:
            yield name


def _kept(layers: Sequence[Any]) -> dict[str, Any]:
    """What a copy refers to by name, since it is there already: the layers and what lies between them, spaces, whose
    generators are copied, and simulators."""
    kept, inner = dict[str, Any](), layers[0]
    while isinstance(inner, gym.Wrapper):
        kept[f"wrapper {len(kept)}"] = inner
        inner = inner.env
    kept["environment"] = inner
    for i, layer in enumerate(layers):
        kept |= {f"space {i} {name}": value for name, value in vars(layer).items() if isinstance(value, gym.Space)}
    return kept | dict(simulators(inner))


def _dumped(value: Any, layers: Sequence[Any]) -> bytes:
    names = {id(part): name for name, part in _kept(layers).items()}

    class Pickler(pickle.Pickler):
        def persistent_id(self, part: Any) -> str | None:
            return names.get(id(part))

    file = io.BytesIO()
    Pickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def _loaded(pickled: bytes, layers: Sequence[Any]) -> Any:
    kept = _kept(layers)

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name: str) -> Any:
            return kept[name]

    return Unpickler(io.BytesIO(pickled)).load()


def _generators(space: gym.Space[Any]) -> Iterator[Any]:
    """The generators of a space and of those within, as states; None for one that was not drawn from."""
    yield space._np_random and space._np_random.bit_generator.state
    for part in _parts(space):
        yield from _generators(part)


def _put_generators(space: gym.Space[Any], states: Iterator[Any]) -> None:
    if (state := next(states)) is None:
        space._np_random = None
    else:
        space.np_random.bit_generator.state = state
    for part in _parts(space):
        _put_generators(part, states)


def _parts(space: gym.Space[Any]) -> list[gym.Space[Any]]:
    parts = getattr(space, "spaces", ())
    return list(parts.values() if isinstance(parts, dict) else parts)
