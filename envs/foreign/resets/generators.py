"""The random generators that an environment and its wrappers hold, which decide what happens at random in its steps."""

import hashlib
import pickle
import random
from collections import deque
from collections.abc import Iterator, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec

from envs.foreign.resets.remade import Remade
from envs.rendering import MujocoRenderer

Layers = Sequence[gym.Env[Any, Any]]  # wrappers from outside in, and the environment

_PLAIN = (int, float, complex, str, bytes, bool, type(None), np.generic, np.ndarray)
STATELESS = (  # what a layer only refers to, and what is no state of its own
    gym.Env,  # a wrapper's inner environment is a layer of its own
    gym.spaces.Space,
    EnvSpec,
    MujocoRenderer,
    mujoco.MjModel,
    mujoco.MjData,
    type,
    FunctionType,
    MethodType,
    ModuleType,
)
TABLE = "P"  # where Gymnasium's toy texts keep their transitions, tens of thousands of numbers that follow from the map
_Generator = np.random.Generator | np.random.RandomState | random.Random


def redraw(layers: Layers, seed: int) -> None:
    """Seed every random generator that the layers hold anew.

    What draws elsewhere, such as an emulator's own generator, stays as it is.
    """
    for n, generator in enumerate(_generators(layers)):
        numbers = np.random.SeedSequence([seed, n])
        if isinstance(generator, random.Random):
            generator.seed(int(numbers.generate_state(1, np.uint64)[0]))
        elif isinstance(generator, np.random.RandomState):
            generator.set_state(np.random.RandomState(numbers.generate_state(4)).get_state())
        else:
            generator.bit_generator.state = type(generator.bit_generator)(numbers).state
    for layer in layers:
        if isinstance(layer, Remade):
            layer.redraw(seed)


def states(layers: Layers) -> bytes:
    """16 bytes (BLAKE2b), a hash of the states of the generators that `redraw` seeds: each draw changes it."""
    digest = hashlib.blake2b(digest_size=16)
    for generator in _generators(layers):
        digest.update(pickle.dumps(_state(generator)))
    for layer in layers:
        if isinstance(layer, Remade):
            digest.update(pickle.dumps(layer.generators()))
    return digest.digest()


def _state(generator: _Generator) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.bit_generator.state


def _generators(layers: Layers) -> Iterator[_Generator]:
    """Each generator that a layer holds, at any depth, once, in an order that follows from names alone: attributes of
    an environment that was copied lie in another order. Spaces are left out: others draw from them too."""
    seen: dict[int, Any] = {}  # id -> the object, which lives as long: another could get its id
    for layer in layers:
        held = {name: value for name, value in vars(layer).items() if name != TABLE}
        waiting: list[Any] = [] if isinstance(layer, Remade) else [held]
        while waiting:
            held = waiting.pop()
            if isinstance(held, _PLAIN) or id(held) in seen:
                continue
            seen[id(held)] = held
            if isinstance(held, _Generator):
                yield held
            elif isinstance(held, dict):
                waiting += [held[name] for name in sorted(held, key=str) if not isinstance(held[name], STATELESS)]
            elif isinstance(held, (list, tuple, deque)):
                waiting += [item for item in held if not isinstance(item, STATELESS)]
            else:
                waiting += [attributes] if (attributes := getattr(held, "__dict__", None)) else []
