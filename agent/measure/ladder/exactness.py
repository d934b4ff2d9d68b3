"""Rungs on which branches, certificates and held-out evaluation stand: does an episode happen again, can its states be
returned to, and do seeds begin different episodes?"""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.measure.ladder.playing import Effort, spread, wander
from agent.measure.ladder.rungs import Certificates, Missing, Restores, Starts
from envs import snapshot
from envs.checks.restores import Way, way_back
from envs.errors import UserError
from envs.snapshot import Restorable, Snapshot
from envs.starts import keyed
from envs.task import Task
from policies.action_codec import codec_for
from policies.baselines import RandomPolicy

CERTIFIED = 8  # episodes, at most
TOGETHER = 2  # episodes that one environment plays in turn: what a reset leaves of the last episode shows
STARTED = 20  # decisions of an episode, at most, that is begun when the time is up
RESTORED = 20  # states, at most
FEW_STATES = 4  # that are returned to whatever the time
BEFORE, AFTER = 30, 10  # steps before a state, fewer than these, and after it
WAYS = {
    snapshot.Way.STATE: "MuJoCo's state",
    snapshot.Way.CLONE: "its own clone",
    snapshot.Way.COPY: "a copy of the whole",
    snapshot.Way.ACTIONS: "the actions, taken again from the reset",
}
INEXACT = "exact: false in its file: no certificates, no branches"
FEW_SEEDS = 4  # whose starts are told apart whatever the time
SEEDS = 100  # of practice, whose starts are told apart


class _Started(Task):
    """The task, whose episodes are cut after STARTED decisions."""

    def make(self, **kwargs: Any) -> Restorable:
        steps = min(STARTED, self.horizon or STARTED) * self.env.repeat
        return super().make(**{"max_episode_steps": steps} | kwargs)


def certificates(task: Task, effort: Effort) -> Certificates | Missing:
    """Episodes of random play, simulated again in another environment: whole ones until the time is up, and of the
    others their first STARTED decisions."""
    if not task.exact:
        return Missing(INEXACT)
    ends, policy = time.monotonic() + effort.seconds, RandomPolicy(codec_for(task).action.space)
    started = _Started(**vars(task))
    flaws, cut = list[str](), 0
    with Verifier() as of_whole, Verifier(lambda name, size: started.sized(size)) as of_started:
        for first in range(0, min(CERTIFIED, effort.episodes), TOGETHER):
            is_late = bool(flaws) and time.monotonic() > ends
            played, verifier = (started, of_started) if is_late else (task, of_whole)
            seeds = range(first, min(first + TOGETHER, CERTIFIED, effort.episodes))
            episodes = rollout(played, policy, [(seed, 0) for seed in seeds], n_envs=1)
            flaws += [_flaw(verifier, episode) for episode in episodes]
            cut += len(episodes) * is_late
    found = [flaw for flaw in flaws if flaw]
    reset = str(task.found().reset)
    return Certificates(len(flaws) - len(found), len(flaws), found[0] if found else "", reset, cut)


def _flaw(verifier: Verifier, episode: Any) -> str:
    try:
        return verifier.flaw(episode)
    except UserError as error:  # the task does not happen again at all
        return str(error)


def restores(task: Task, effort: Effort) -> Restores | Missing:
    """States some steps into random episodes, each left and returned to in its own environment and in another.

    Raises UserError where neither a saved state nor its actions lead back.
    """
    if not task.exact:
        return Missing(INEXACT)
    notes = list[str]()
    way = way_back(task, 0, None, wander(task, 0, BEFORE), notes.append)
    ends, exact, times, name = time.monotonic() + effort.seconds, [], [], ""
    quick = task.with_env(frames=1)
    with closing(quick.make()) as env, closing(quick.make()) as other:
        for seed in range(RESTORED):
            actions = wander(quick, seed, (7 * seed + 3) % BEFORE + AFTER)
            before, after = actions[: max(0, len(actions) - AFTER)], actions[max(0, len(actions) - AFTER) :]
            env.reset(seed=seed)
            for action in before:
                env.step(action)
            saved = env.snapshot() if way is Way.SAVED else Snapshot(seed, None, tuple(before))
            name = name or _named(env, saved)
            given = _followed(env, after)
            same, ms = zip(*(_returned(again, saved, after, given) for again in (env, other)), strict=True)
            exact.append(all(same))
            times += ms
            if time.monotonic() > ends and len(exact) >= FEW_STATES:
                break
    return Restores(sum(exact), len(exact), name, spread(times)[1], tuple(notes))


def _named(env: Restorable, saved: Snapshot) -> str:
    return WAYS[snapshot.Way.ACTIONS if saved.is_repeated else env.way]


def _returned(env: Restorable, saved: Snapshot, actions: Sequence[Any], given: list[Any]) -> tuple[bool, float]:
    """Whether what follows is what was given, and the time of the return [ms]."""
    started = time.perf_counter()
    env.restore(saved)
    ms = 1000 * (time.perf_counter() - started)
    return _followed(env, actions) == given, ms


def _followed(env: Restorable, actions: Sequence[Any]) -> list[Any]:
    """The state now, and after each action, with its reward and the flags."""
    states: list[Any] = [env.fingerprint()]
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        states.append((env.fingerprint(), env.observation_key(), float(reward), bool(terminated), bool(truncated)))
    return states


def starts(task: Task, effort: Effort, seeds: int = SEEDS) -> Starts:
    """Distinct starts among the first practice seeds, of as many seeds as the time allows, and of FEW_SEEDS at least:
    one alone would look like all there is."""
    ends, found = time.monotonic() + effort.seconds, []
    with closing(keyed(task, range(seeds))) as pairs:
        for _, key in pairs:
            found.append(key)
            if time.monotonic() > ends and len(found) >= FEW_SEEDS:
                break
    return Starts(len(set(found)), len(found))
