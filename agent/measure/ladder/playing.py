"""Episodes without a policy that looks: of random play, of doing nothing, of an expert, also through the codec."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import gymnasium as gym
import numpy as np

from agent.measure.ladder.rungs import Ceiling, Play
from agent.measure.statistics import rate
from envs import registry
from envs.errors import UserError
from envs.foreign.raising import is_of_environment, named
from envs.foreign.spaces import leaves
from envs.foreign.teaching import Sb3Expert, TrainedExpert
from envs.task import Task
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy, ZeroPolicy, with_expert
from policies.experts import trust

LEVELS = (3, 5, 9, 15, 21)  # of a continuous axis, tried beside the task's own
Act = Callable[[gym.Env, np.random.Generator], Any]


@dataclass(frozen=True)
class Effort:
    """How much is played. episodes: of each player, at most. seconds: of a rung, after which no further episode begins.
    workers: processes that play."""

    episodes: int = 30
    seconds: float = 8.0
    workers: int = 1


@dataclass(frozen=True)
class Player:
    """Who plays: `zero`, `random`, `expert`, or `codec`, the expert through the codec with these levels (None: as the
    task has them)."""

    task: str
    who: str
    levels: int | None = None


@dataclass(frozen=True)
class Played:
    """One episode. error: what broke it; empty for a whole one."""

    success: bool
    total: float  # return
    decisions: int
    truncated: bool
    error: str = ""


def play(who: str, task: Task, effort: Effort) -> Play:
    """Raises UserError where every episode breaks."""
    return _summary(task, episodes(Player(task.name, who), effort))


def ceiling(task: Task, effort: Effort) -> Ceiling:
    """The expert's success through the codec, with the task's own `levels` of continuous actions, and with others as
    far as the time goes. Raises UserError without an expert."""
    own = task.actions.levels if has_levels(task) else 0
    each = [own, *(n for n in LEVELS if own and n != own)]
    share, ends = replace(effort, seconds=effort.seconds / len(each)), time.monotonic() + effort.seconds
    rates = {}
    for n in each:
        if not rates or time.monotonic() < ends:
            rates[n] = _summary(task, episodes(Player(task.name, "codec", n or None), share)).rate
    return Ceiling(dict(sorted(rates.items())), own)


def has_levels(task: Task) -> bool:
    """Whether an action has a continuous part."""
    return any(isinstance(leaf, gym.spaces.Box) for _, leaf in leaves(codec_for(task).action.space))


def episodes(player: Player, effort: Effort) -> list[Played]:
    """One episode for each of the first practice seeds, in their order, until the time is up; at least one a process.

    Raises UserError where an environment ends its process.
    """
    parts = [range(i, effort.episodes, effort.workers) for i in range(min(effort.workers, effort.episodes))]
    if len(parts) == 1:
        return _episodes(player, parts[0], effort.seconds)
    trusting = {"initializer": trust.vouch_for, "initargs": (trust.vouched(),)}
    with ProcessPoolExecutor(len(parts), mp_context=get_context("spawn"), **trusting) as pool:
        try:
            played = list(pool.map(_episodes, [player] * len(parts), parts, [effort.seconds] * len(parts)))
        except RuntimeError as error:  # of a pool that is broken
            raise UserError(f"task {player.task!r} ends the process that plays it; valid: --workers 1") from error
    return [one for part in played for one in part]


def _episodes(player: Player, seeds: Sequence[int], seconds: float) -> list[Played]:
    ends = time.monotonic() + seconds
    played: list[Played] = []
    for one in _each(player, seeds):
        played.append(one)
        if time.monotonic() > ends:
            break
    return played


def _each(player: Player, seeds: Sequence[int]) -> Iterator[Played]:
    task = registry.task(player.task)
    if player.levels:
        task = replace(task, actions=replace(task.actions, levels=player.levels))
    yield from play_each(task, _acting(task, player.who), seeds, player.who in ("expert", "codec") and looks(task))


def looks(task: Task) -> bool:
    """Whether the task's expert may act on frames, so that their history is to be drawn."""
    by = task.teacher.shown_by
    return isinstance(by, TrainedExpert) or (isinstance(by, Sb3Expert) and by.observe == "pixels")


def play_each(task: Task, act: Act, seeds: Iterable[int], draws: bool = False) -> Iterator[Played]:
    """An episode from each of the seeds, one after the other. draws: a history of frames at each step."""
    seen = task if draws else task.with_env(frames=1)
    env = seen.make()
    try:
        for seed in seeds:
            one = _one(env, act, seed)
            if one.error:  # its state is undefined
                env.close()
                env = seen.make()
            yield one
    finally:
        env.close()


def _acting(task: Task, who: str) -> Act:
    codec = codec_for(task)
    if who == "zero":
        zero = ZeroPolicy(codec.action.space).action
        return lambda env, rng: zero
    if who == "random":
        policy = RandomPolicy(codec.action.space)
        return lambda env, rng: policy.act([None], [rng])[0].action
    task = with_expert(task)
    through = ExpertPolicy(task, codec)  # raises UserError without an expert
    if who == "codec":
        return lambda env, rng: through.act_on([env])[0].action
    return lambda env, rng: task.teacher.expert(env)[1]


def _one(env: gym.Env, act: Act, seed: int) -> Played:
    total, n, rng = 0.0, 0, np.random.default_rng([seed, 0])
    try:
        env.reset(seed=seed)
        while True:
            _, reward, terminated, truncated, info = env.step(act(env, rng))
            total, n = total + float(reward), n + 1
            if terminated or truncated:
                return Played(bool(info["success"]), total, n, bool(truncated and not terminated))
    except BaseException as error:
        if not is_of_environment(error):
            raise
        return Played(False, total, n, False, named(error))


def _summary(task: Task, played: Sequence[Played]) -> Play:
    whole = [one for one in played if not one.error]
    errors = [one.error for one in played if one.error]
    if not whole:
        raise UserError(f"every episode of {task.name!r} broke; the first: {errors[0]}")
    return Play(
        rate([one.success for one in whole]),
        spread([one.total for one in whole]),
        spread([one.decisions for one in whole]),
        sum(one.truncated for one in whole),
        len(errors),
        errors[0] if errors else "",
    )


def spread(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Lowest, median, highest."""
    return float(np.min(numbers)), float(np.median(numbers)), float(np.max(numbers))


def wander(task: Task, seed: int, steps: int) -> list[Any]:
    """Random actions of an episode from `seed`, at most `steps`, none after its end."""
    space, rng, actions = codec_for(task).action.space, np.random.default_rng([seed, 1]), []
    with closing(task.with_env(frames=1).make()) as env:
        env.reset(seed=seed)
        for _ in range(steps):
            actions.append(RandomPolicy(space).act([None], [rng])[0].action)
            if any(env.step(actions[-1])[2:4]):
                break
    return actions
