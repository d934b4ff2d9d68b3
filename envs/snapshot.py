"""An environment's state between two steps: saved, restored exactly, and identified by a fingerprint.

MuJoCo's own state is copied (`mj_getState`, `mjSTATE_INTEGRATION`), and beside it what MuJoCo does not hold: attributes
and random generators of the environment and of every wrapper. Where an environment holds anything else (Box2D's world),
or has no MuJoCo state at all, its episode is begun anew and the actions are taken again. So it is after a step that
built MuJoCo's model anew. Everything is looked up at each use: some simulators build their model at each reset, and
some environments are made anew. An environment that was tried (`envs.foreign.resets.ways`) may be copied in other ways.
"""

import hashlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import PassiveEnvChecker

from envs.checks.health import data_of
from envs.errors import UserError
from envs.foreign.resets import generators
from envs.foreign.resets.copies import Copier, is_window
from envs.foreign.resets.plain import GeneratorState, NotPlainError, copied, feed, packed, to_feed, without_generators
from envs.foreign.resets.simulation import PHYSICS, physics_of, put_physics, simulators
from envs.rendering import mujoco

__all__ = ["PHYSICS", "Restorable", "Snapshot", "Way", "is_physical", "physics_of"]

# Steps with a saved state's last action before its clone is put in. The Arcade Learning Environment takes the last
# action again at times (sticky actions), and its clone lacks it; now and then it does so several times in a row.
STICKY = 6
_NO_STATE = ("_np_random_seed", generators.TABLE)  # where Gymnasium's environments keep the last seed, and its table
_STATELESS_NAMES = ("MujocoModelNames",)  # of Gymnasium-Robotics, which need not be installed


class Way(StrEnum):
    """How a state is returned to, the fastest first.

    state: MuJoCo's and the attributes, copied one by one. clone: the environment's own clone, and the rest as in copy.
    copy: MuJoCo's, if there is one, and a pickle of everything else. actions: the actions again. Where state cannot be
    copied, it is the actions.
    """

    STATE = "state"
    CLONE = "clone"
    COPY = "copy"
    ACTIONS = "actions"


@dataclass(frozen=True)
class Snapshot:
    """A state of the episode that began with `reset(seed=seed, options=options)`.

    physics: MuJoCo's state. poses: of its bodies, position and quaternion; MuJoCo's derived poses lag one step behind
    its state, and pictures and observations are made of them, so they are saved beside it. attributes: of the wrappers
    from outside in, and of the environment. observation: the environment's own. copied: instead of both, a pickle
    (`envs.foreign.resets.copies`). Where there is nothing of these, the state is restored by taking the actions again.
    """

    seed: int
    options: dict[str, Any] | None
    actions: tuple[Any, ...]
    physics: np.ndarray | None = None  # (n,) float64
    poses: np.ndarray | None = None  # (bodies, 7) float64
    attributes: tuple[dict[str, Any], ...] | None = None
    observation: Any = None
    copied: bytes | None = None
    redrawn: tuple[tuple[int, int], ...] = ()

    @property
    def repeated(self) -> tuple[Any, ...]:
        """The actions that a restore takes."""
        return self.actions if self.is_repeated else ()

    @property
    def is_repeated(self) -> bool:
        """Whether the actions are taken again."""
        return self.attributes is None and self.copied is None


class Restorable(gym.Wrapper[Any, Any, Any, Any]):
    """The outermost wrapper: saves the state of all layers within, and restores it in any environment of its kind.

    What a reset decides once for an episode, such as colours in a MuJoCo model, is not saved: a state of another
    episode is restored by a reset with that episode's seed, then by setting the state.
    """

    def __init__(self, env: gym.Env[Any, Any], way: Way = Way.STATE):
        """way: how its snapshots lead back."""
        super().__init__(env)
        self.way, self._copier = way, Copier()
        self._model: mujoco.MjModel | None = None  # that of the last reset
        self._start: tuple[int, dict[str, Any] | None] | None = None
        self._actions: list[Any] = []
        self._redrawn: list[tuple[int, int]] = []
        self._undrawn = b""  # the states of its random generators after the reset
        self._observation: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._start, self._actions, self._redrawn, self._model = None, [], [], None
        self._observation, info = self.env.reset(seed=seed, options=options)
        self._undrawn = generators.states(self._layers())
        self._model = data.model if (data := self._data()) else None
        self._start = None if seed is None else (seed, deepcopy(options))
        return self._observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._actions.append(deepcopy(action))
        self._observation, *rest = self.env.step(action)
        return self._observation, *rest

    @property
    def has_drawn(self) -> bool:
        """Whether its random generators moved since the reset."""
        return generators.states(self._layers()) != self._undrawn

    def redraw(self, seed: int) -> None:
        """From the next step on, the random events of the episode are those of this seed."""
        self._redrawn.append((len(self._actions), seed))
        generators.redraw(self._layers(), seed)

    def _layers(self) -> list[gym.Env[Any, Any]]:
        layers, env = [], self.env
        while isinstance(env, gym.Wrapper):
            if not isinstance(env, PassiveEnvChecker):  # keeps the last observation, for nothing but its own checks
                layers.append(env)
            env = env.env
        return [*layers, env]

    def _data(self) -> mujoco.MjData | None:
        """MuJoCo's state, as the environment has it now."""
        return data_of(self.env)

    def _is_rebuilt(self) -> bool:
        """Whether the model is no longer that of the reset."""
        data = self._data()
        return (data.model if data else None) is not self._model

    @property
    def observation(self) -> Any:
        """What the environment observed last."""
        return self._observation

    def snapshot(self) -> Snapshot:
        """The state now. Raises UserError in an episode that began without a seed, which cannot be restored."""
        if self._start is None:
            raise UserError("an episode without a seed has no way back; valid: reset(seed=...) before snapshot()")
        data = None if self._is_rebuilt() else self._data()
        physics = (physics_of(data), np.hstack([data.xpos, data.xquat])) if data else (None, None)
        before = *self._start, tuple(self._actions)
        if self.way in (Way.CLONE, Way.COPY) and not self._is_rebuilt():
            whole = self._copier.copy(self._layers(), self.way is Way.CLONE, self._observation)
            return Snapshot(*before, *physics, copied=whole, redrawn=tuple(self._redrawn))
        attributes = self._attributes() if data and self.way is Way.STATE else None
        if attributes is None:
            return Snapshot(*before, redrawn=tuple(self._redrawn))
        return Snapshot(*self._start, (), *physics, attributes, deepcopy(self._observation))

    def restore(self, snapshot: Snapshot) -> None:
        """Return to a state, of any episode of this kind of environment."""
        if snapshot.is_repeated:
            self.reset(seed=snapshot.seed, options=snapshot.options)
            redrawn = dict(snapshot.redrawn)
            for i, action in enumerate(snapshot.actions):
                if i in redrawn:
                    self.redraw(redrawn[i])
                self.step(action)
            return
        is_start = self.way is Way.CLONE and not snapshot.actions
        if self._start != (snapshot.seed, snapshot.options) or self._is_rebuilt() or is_start:
            self.reset(seed=snapshot.seed, options=snapshot.options)
        if self.way is Way.CLONE and not is_start:
            for _ in range(STICKY):
                if any(self.env.step(snapshot.actions[-1])[2:4]):
                    break
        if snapshot.physics is not None:
            put_physics(self._data(), snapshot.physics, snapshot.poses)
        if snapshot.copied is not None:
            self._observation = self._copier.put(self._layers(), snapshot.copied)
            self._actions, self._redrawn = list(snapshot.actions), list(snapshot.redrawn)
            return
        for layer, attributes in zip(self._layers(), snapshot.attributes, strict=True):
            _put(layer, attributes)
        self._observation = deepcopy(snapshot.observation)

    def fingerprint(self, generators: bool = True) -> bytes:
        """16 bytes (BLAKE2b), a hash of the environment's state, the same on every machine.

        It covers the physics, numbers and random generators; without physics, also the last observation. Not
        generators: without their states and the seed, which differ even where two seeds lead to the same state, and
        without the transition table of a toy text, tens of thousands of numbers that follow from its map.
        """
        digest = hashlib.blake2b(digest_size=16)
        if data := self._data():
            digest.update(physics_of(data).tobytes())
        else:
            feed(self._observation, digest)
        if generators:
            feed(_to_feed(self.unwrapped), digest)
        else:
            feed(without_generators(_to_feed(self.unwrapped, but=_NO_STATE)), digest)
        return digest.digest()

    def observation_key(self) -> bytes:
        """16 bytes (BLAKE2b), a hash of the numbers that the environment observed last."""
        digest = hashlib.blake2b(digest_size=16)
        feed(self._observation, digest)
        return digest.digest()

    def _attributes(self) -> tuple[dict[str, Any], ...] | None:
        try:
            but = () if is_physical(self.env) else tuple(place for place, _ in simulators(self.env))
            *around, inner = self._layers()
            return (*(packed(_plain(layer)) for layer in around), packed(_plain(inner, but=but)))
        except NotPlainError:
            return None


def is_physical(env: gym.Env[Any, Any]) -> bool:
    """Whether MuJoCo simulates it."""
    return isinstance(getattr(env.unwrapped, "data", None), mujoco.MjData)


def _held(owner: Any, but: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """An object's attributes, without those that are only referred to."""
    fixed = (*getattr(owner, "set_by_reset", ()), *but)
    for name, value in vars(owner).items():
        is_fixed = name in fixed or type(value).__name__ in _STATELESS_NAMES
        if not (is_fixed or isinstance(value, generators.STATELESS) or is_window(value)):
            yield name, value


def _plain(owner: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Copies of an object's attributes. Raises NotPlainError for one that is not plain."""
    return {name: copied(value) for name, value in _held(owner, but)}


def _to_feed(owner: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object's attributes, for a digest; those that are not plain are left out."""
    found = {}
    for name, value in _held(owner, but):
        try:
            found[name] = to_feed(value)
        except NotPlainError:
            continue
    return found


def _put(owner: Any, attributes: dict[str, Any]) -> None:
    held = vars(owner)
    for name, value in attributes.items():
        if isinstance(value, GeneratorState):
            held[name].bit_generator.state = value.state
        else:
            held[name] = copied(value)  # the snapshot may be returned to again
