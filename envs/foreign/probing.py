"""An environment from a file is tried before anything is played with it: whether it keeps to Gymnasium's interface, its
actions have words, it can be drawn, and a seed decides what happens. Found out beside: what its reset needs for that,
and which way back to its states is exact.

An environment that raises now and then is none of this: a rollout reports its broken episodes.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import closing
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.cameras import OwnView
from envs.errors import UserError, shown
from envs.foreign.raising import fatal_signal, is_of_environment, named
from envs.foreign.resets.remade import Reset, global_generators_kept
from envs.foreign.resets.ways import exact_way
from envs.foreign.spaces import check_actions
from envs.snapshot import Restorable, Way, is_physical
from envs.splits import SPLITS

SEED, OTHER = SPLITS["practice"][-1], SPLITS["practice"][-2]  # the last to be practised
STEPS = 10  # of random actions
_OWN = "an environment that calls super().reset(seed=seed) and draws from self.np_random alone"


class Found(NamedTuple):
    """What is known of an environment that was tried.

    white: of its pictures, where these are floats, as `FrameReader` has it. reset: what it needs. way: the fastest way
    back to a state. is_exact: whether its episodes happen again. has_starts: whether its seed decides anything. own:
    how a MuJoCo environment shows itself. rounds: whether rewards are, other than MuJoCo's, which are exact.
    """

    white: float | None
    reset: Reset
    way: Way
    is_exact: bool = True
    has_starts: bool = True
    own: OwnView | None = None
    rounds: bool = True


class Trace(NamedTuple):
    """What an episode observed: at its start, and after each step with the reward and the flags; in both with the
    state's fingerprint, which comes last, and, where it is drawn by itself, a picture."""

    fingerprint: bytes  # of the start, with the states of random generators
    start: Any
    steps: list[Any]


class _Compared(NamedTuple):
    """Episodes of one seed: in an environment, there again, in a second environment, and after another's in the first.

    There are fewer after a flaw. other: the episode of the other seed.
    """

    alike: list[Trace | BaseException]
    other: Trace | BaseException | None
    white: float | None

    @property
    def errors(self) -> list[BaseException]:
        return [trace for trace in (*self.alike, self.other) if isinstance(trace, BaseException)]

    @property
    def flaw(self) -> str:
        """How the seed does not decide an episode; empty where it does, and where the environment raised."""
        return "" if self.errors else next(filter(None, (_flaw(self.alike[0], trace) for trace in self.alike)), "")

    def has_effect(self, in_sight: bool) -> bool:
        """Whether the other seed led elsewhere. in_sight: not in random generators alone."""
        first = self.alike[0]
        if not in_sight and first.fingerprint != self.other.fingerprint:
            return True
        seen, seen_of_other = ([trace.start, *(step[:-1] for step in trace.steps)] for trace in (first, self.other))
        return not _same(seen, seen_of_other)


def _flaw(one: Trace, again: Trace) -> str:
    if not _same(one.start, again.start):
        return f"reset(seed=...) of {{}} does not decide the start: two with seed {SEED} differ"
    if not _same(one.steps, again.steps):
        return "the seed of {} does not decide its steps: the same actions lead elsewhere"
    if one.fingerprint != again.fingerprint:
        return f"reset(seed=...) of {{}} does not decide the start: two with seed {SEED} differ in what is not seen"
    return ""


def probe(env_id: str, build: Callable[[Reset], Restorable], wanted: Reset | None = None, exact: bool = True) -> Found:
    """Try an environment. build: makes it. wanted: the only reset that is tried. exact: its episodes must happen again.

    A reset that is as it is comes first, then generators of its own, then an environment that is made anew. Raises
    UserError, naming what is wrong with the environment.
    """
    with global_generators_kept(), closing(build(wanted or Reset.AS_IS)) as env:
        check_actions(env.action_space)
        if name := fatal_signal(lambda: _trace(env, SEED, draws=False)):
            raise UserError(f"environment {env_id!r} ends its process with {name} within its first {STEPS} steps")
        _check_interface(env_id, env.unwrapped)
    with global_generators_kept():
        return _found(env_id, build, [wanted] if wanted else list(Reset), exact)


def _found(env_id: str, build: Callable[[Reset], Restorable], resets: Sequence[Reset], must_be_exact: bool) -> Found:
    alike, unsure, flaws = None, None, []  # exact, but without an effect of the seed that is seen; raised; not exact
    for reset in resets:
        compared = _compared(build, reset)
        if len(compared.errors) == len(compared.alike) + 1:
            error = named(compared.errors[0])
            raise UserError(f"environment {env_id!r} raises in every episode; the first time: {error}")
        found = Found(compared.white, reset, Way.STATE)
        if compared.errors:
            unsure = unsure or found
        elif compared.flaw:
            flaws.append((compared.flaw.format(repr(env_id)), found))
        elif compared.has_effect(in_sight=bool(alike or flaws)):
            return found._replace(way=_way(build, reset))
        else:
            alike = alike or found._replace(has_starts=compared.has_effect(in_sight=False))
    if alike:
        return alike._replace(way=_way(build, alike.reset))
    if unsure:
        return unsure
    flaw, found = flaws[0]
    if must_be_exact:
        anew = ", also where it is made anew for each episode with generators of its own" * (len(flaws) > 1)
        raise UserError(
            f"{flaw}{anew}; valid: {_OWN}, or exact: false in the task's file, which plays it without certificates and "
            "branches"
        )
    return found._replace(is_exact=False)


def _way(build: Callable[[Reset], Restorable], reset: Reset) -> Way:
    return exact_way(lambda: build(reset), SEED, OTHER)


def _compared(build: Callable[[Reset], Restorable], reset: Reset) -> _Compared:
    with closing(build(reset)) as env:
        draws = not is_physical(env)  # MuJoCo's pictures are our own
        alike, other = [_trace(env, SEED, draws), _trace(env, SEED, draws)], None
        if not _Compared(alike, None, None).flaw:
            with closing(build(reset)) as beside:
                alike.append(_trace(beside, SEED, draws))
        if not _Compared(alike, None, None).flaw:
            other = _trace(env, OTHER, draws)
            alike.append(_trace(env, SEED, draws))
        return _Compared(alike, other, env.get_wrapper_attr("white"))


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
    """An episode of random actions, or what it raised, unless a UserError. draws: at its start, after a step, and at
    its end."""
    try:
        env.reset(seed=seed)
        trace = Trace(env.fingerprint(), (deepcopy(env.observation), env.render() if draws else None), [])
        env.action_space.seed(SEED)
        for i in range(STEPS):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            flags = bool(terminated), bool(truncated)
            picture = env.render() if draws and (i in (0, STEPS - 1) or any(flags)) else None
            trace.steps.append((deepcopy(observation), reward, *flags, picture, env.fingerprint()))
            if any(flags):
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
    return one is other or bool(one == other) or (one != one and other != other)
