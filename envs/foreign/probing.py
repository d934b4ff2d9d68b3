"""An environment from a file is tried before anything is played with it: whether it keeps to Gymnasium's interface, its
actions have words, it can be drawn, and a seed decides what happens.

An environment that raises now and then is none of this: a rollout reports its broken episodes.
"""

import inspect
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.errors import UserError, shown
from envs.foreign.raising import fatal_signal, is_of_environment, named
from envs.foreign.spaces import check_actions
from envs.snapshot import Restorable, is_physical
from envs.splits import SPLITS

SEED, OTHER = SPLITS["practice"][-1], SPLITS["practice"][-2]  # the last to be practised
STEPS = 8  # of random actions


class Trace(NamedTuple):
    """What an episode observed: at its start, and after each step with the reward and the flags."""

    fingerprint: bytes  # with the states of random generators
    start: Any
    steps: list[Any]


def probe(env_id: str, env: Restorable) -> None:
    """Raises UserError, naming what is wrong with the environment."""
    check_actions(env.action_space)
    if name := fatal_signal(lambda: _trace(env, SEED, draws=False)):
        raise UserError(f"environment {env_id!r} ends its process with {name} within its first {STEPS} steps")
    _check_interface(env_id, env.unwrapped)
    draws = not is_physical(env)  # MuJoCo's pictures are our own
    first, other, again = (_trace(env, seed, draws) for seed in (SEED, OTHER, SEED))
    errors = [trace for trace in (first, other, again) if isinstance(trace, BaseException)]
    if len(errors) == 3:
        raise UserError(f"environment {env_id!r} raises in every episode; the first time: {named(errors[0])}")
    if errors:
        return
    if not _same(first.start, again.start):
        raise UserError(f"reset(seed=...) of {env_id!r} does not decide the start: two with seed {SEED} differ; {_OWN}")
    if not _same(first.steps, again.steps):
        raise UserError(f"the seed of {env_id!r} does not decide its steps: the same actions lead elsewhere; {_OWN}")
    if first.fingerprint == other.fingerprint and _same(first, other):
        raise UserError(f"reset(seed=...) of {env_id!r} has no effect: seeds {SEED} and {OTHER} are the same; {_OWN}")


_OWN = "valid: an environment that calls super().reset(seed=seed) and draws from self.np_random alone"


def _check_interface(env_id: str, inner: gym.Env) -> None:
    """What Gymnasium's wrappers would unpack. Raises UserError for another step or reset than Gymnasium's."""
    parameters = inspect.signature(inner.reset).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    missing = [name for name in ("seed", "options") if name not in parameters and not takes_any]
    if missing:
        raise UserError(f"reset of {env_id!r} takes no {' and no '.join(missing)}; valid: reset(*, seed, options)")
    try:
        begun = inner.reset(seed=SEED)
        _check_tuple(f"reset of {env_id!r}", begun, "observation, info")
        inner.action_space.seed(SEED)
        stepped = inner.step(inner.action_space.sample())
    except BaseException as error:
        if isinstance(error, UserError) or not is_of_environment(error):
            raise
        return  # it is tried again through all of its wrappers
    _check_tuple(f"step of {env_id!r}", stepped, "observation, reward, terminated, truncated, info")


def _check_tuple(what: str, given: Any, names: str) -> None:
    n = len(names.split(", "))
    if isinstance(given, tuple) and len(given) == n and isinstance(given[-1], dict):
        return
    found = f"{len(given)} values" if isinstance(given, tuple) and len(given) != n else shown(given, 60)
    raise UserError(f"{what} returned {found}, as gym before 0.26 did; valid: ({names})")


def _trace(env: Restorable, seed: int, draws: bool) -> Trace | BaseException:
    """An episode of random actions, or what it raised, unless a UserError. draws: at its start and after a step."""
    try:
        env.reset(seed=seed)
        trace = Trace(env.fingerprint(), deepcopy(env.observation), [])
        if draws:
            env.render()
        env.action_space.seed(SEED)
        for i in range(STEPS):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            trace.steps.append(deepcopy((observation, reward, bool(terminated), bool(truncated))))
            if draws and not i:
                env.render()
            if terminated or truncated:
                break
    except BaseException as error:
        if isinstance(error, UserError) or not is_of_environment(error):
            raise
        return error
    return trace


def _same(one: Any, other: Any) -> bool:
    """Whether two observations are the same, numbers that are none included."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        may_be_nan = one.dtype.kind in "fc" and other.dtype.kind in "fc"
        return np.array_equal(one, other, equal_nan=may_be_nan)
    return bool(one == other) or (one != one and other != other)
