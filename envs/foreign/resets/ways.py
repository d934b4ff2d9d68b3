"""Which way back to a state of an environment is exact: each is tried, the fastest first."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from envs.foreign.resets.copies import can_clone
from envs.snapshot import Restorable, Snapshot, Way, is_physical

BEFORE = (1, 9)  # steps before a state that is returned to
AFTER = 10  # steps that follow it


class _State(NamedTuple):
    """A state in the middle of an episode, how it was saved in each way, and what followed it."""

    snapshots: dict[Way, Snapshot]
    actions: Sequence[Any]
    given: list[Any]


def exact_way(build: Callable[[], Restorable], seed: int, other: int) -> Way:
    """The first way whose snapshots lead back, in the environment that was left and in another that plays the seed
    `other`. Repeated actions are not tried: that they do is known."""
    with closing(build()) as env, closing(build()) as beside:
        env.action_space.seed(seed)
        actions = [env.action_space.sample() for _ in range(max(BEFORE) + AFTER)]
        states = [_state(env, seed, actions, n) for n in BEFORE]
        for way in Way:
            if all(way in state.snapshots and _leads_back(env, beside, state, way, other) for state in states):
                return way
    return Way.ACTIONS


def _state(env: Restorable, seed: int, actions: Sequence[Any], n: int) -> _State:
    """The state after `n` actions, or half of them where the episode is over by then."""
    env.reset(seed=seed)
    for i, action in enumerate(actions[:n]):
        if any(env.step(action)[2:4]):
            return _state(env, seed, actions, i // 2) if i else _State({}, (), [])
    snapshots = {way: saved for way in Way if (saved := _saved(env, way))}
    rest = actions[n : n + AFTER]
    return _State(snapshots, rest, _followed(env, rest))


def _saved(env: Restorable, way: Way) -> Snapshot | None:
    """None where it cannot be saved in this way."""
    if way is Way.ACTIONS or (way is Way.CLONE and not can_clone(env)):
        return None
    env.way = way
    try:
        saved = env.snapshot()
    except Exception:  # whatever a clone raises, or a part that refuses to be pickled
        return None
    return None if saved.is_repeated else saved


def _leads_back(env: Restorable, beside: Restorable, state: _State, way: Way, other: int) -> bool:
    saved = state.snapshots[way]
    env.way = beside.way = way  # a clone is put in otherwise than a copy
    try:
        beside.reset(seed=other)
        for again in (env, beside, beside):
            again.restore(saved)
            if _followed(again, state.actions) != state.given:
                return False
    except Exception:  # whatever an environment raises that was put into a state that it cannot be in
        return False
    return True


def _followed(env: Restorable, actions: Sequence[Any]) -> list[Any]:
    """What followed a state: fingerprints, what was observed and given, and of what draws itself a last picture."""
    followed = [env.fingerprint(), env.observation_key()]
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        followed += [env.fingerprint(), env.observation_key(), float(reward), bool(terminated), bool(truncated)]
        if terminated or truncated:
            break
    return followed if is_physical(env) else [*followed, np.asarray(env.render()).tobytes()]
