"""Our speed and exactness against a reference, both sides measured in one run: machines differ, ratios less."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agent.branching import Point
from agent.config import Critic
from agent.rollout import Start, rollout
from agent.workers import Job, policy_of
from envs.registry import TASKS, tagged, task
from envs.rendering import mujoco
from envs.snapshot import Restorable

RESTORED = (
    *(name for name in tagged("tabletop") if TASKS[name].split == "practice"),
    "Reacher-v5",
    "Pusher-v5",
    "HalfCheetah-v5",
    "InvertedPendulum-v5",
    "CartPole-v1",
    "FrozenLake-v1",
)
STEPS = 50  # after a restore
SAVES = 500


def bench(checkpoint: Path, restores: int) -> list[dict[str, Any]]:
    """Rows of name, unit, ours, reference, ratio (ours over reference) and what was compared."""
    rows = [saving("push"), branching("push", checkpoint), criticising("push", checkpoint)]
    return rows + [restoring(name, restores) for name in RESTORED]


def _row(name: str, unit: str, ours: float, reference: float, what: str) -> dict[str, Any]:
    return {"name": name, "unit": unit, "ours": ours, "reference": reference, "ratio": ours / reference, "what": what}


def saving(name: str) -> dict[str, Any]:
    """Save plus restore of a MuJoCo task, against MuJoCo's own calls."""
    env = make(name)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    model, data = env.unwrapped.model, env.unwrapped.data
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(model, kind))

    def bare() -> None:
        mujoco.mj_getState(model, data, state, kind)
        mujoco.mj_setState(model, data, state, kind)
        mujoco.mj_forward(model, data)

    ours, reference = _microseconds(lambda: env.restore(env.snapshot())), _microseconds(bare)
    env.close()
    what = f"snapshot() and restore() of {name} | mj_getState, mj_setState, mj_forward"
    return _row("save and restore", "us", ours, reference, what)


def _microseconds(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(SAVES):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e6 * float(np.median(times))


def branching(name: str, checkpoint: Path, n: int = 128, n_envs: int = 64) -> dict[str, Any]:
    """Decisions a second of branches from moments of failed episodes, against plain episodes of the same policy."""
    plain = Job(name, checkpoint, [(seed, 0) for seed in range(n)], temperature=1.0)
    with policy_of(plain) as policy:
        rollout(task(name), policy, plain.starts[:n_envs], n_envs)  # to warm up
        started = time.perf_counter()
        episodes = rollout(task(name), policy, plain.starts, n_envs, snapshots=True)
        reference = sum(len(e.steps) for e in episodes) / (time.perf_counter() - started)
        rng = np.random.default_rng(0)
        points = [Point(e, int(rng.integers(len(e.steps)))) for e in episodes if not e.success]
        starts: list[Start] = []
        while points and len(starts) < 2 * n:
            starts += [p.start(n + len(starts) + i, 0, p.episode.steps[p.step].decision) for i, p in enumerate(points)]
        started = time.perf_counter()
        branches = rollout(task(name), policy, starts, n_envs)
        ours = sum(len(e.steps) for e in branches) / (time.perf_counter() - started)
    return _row("branching", "decisions/s", ours, reference, f"branches of {name} | whole episodes, {n_envs} at once")


def criticising(name: str, checkpoint: Path, n: int = 96, n_envs: int = 32, proposals: int = 4) -> dict[str, Any]:
    """Time of a decision with proposals and their critiques, against that of a single answer."""
    spent = {}
    for critic in (Critic(), Critic(proposals)):
        job = Job(name, checkpoint, [(seed, 0) for seed in range(n)], critic=critic)
        with policy_of(job) as policy:
            rollout(task(name), policy, job.starts[:n_envs], n_envs)  # to warm up
            started = time.perf_counter()
            episodes = rollout(task(name), policy, job.starts, n_envs)
        spent[critic.proposals] = 1000 * (time.perf_counter() - started) / sum(len(e.steps) for e in episodes)
    what = f"{name}: {proposals} proposals and their critiques | one answer, {n_envs} environments"
    return _row("criticising", "ms/decision", spent[proposals], spent[1], what)


def restoring(name: str, n: int) -> dict[str, Any]:
    return _row("exact restores", "of all", replays(name, n), n, f"{name}: {STEPS} steps after a restore, bit for bit")


def make(name: str) -> Restorable:
    """A task by its name, or any environment that Gymnasium knows."""
    return TASKS[name].make() if name in TASKS else Restorable(gym.make(name))


def play(env: Restorable, actions: list[Any]) -> list[tuple]:
    """What each step brought and what state it led to, to the end of the episode at most."""
    result = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        result.append((np.asarray(observation).tobytes(), reward, terminated, truncated, env.fingerprint()))
        if terminated or truncated:
            break
    return result


def wander(env: Restorable, seed: int) -> list[Any]:
    """Go up to 30 random steps into the episode of `seed`, not to its end; return the actions of `STEPS` more."""
    env.action_space.seed(seed)
    actions = [env.action_space.sample() for _ in range(seed % 30 + STEPS)]
    env.reset(seed=seed)
    played = play(env, actions[:-STEPS])
    if played and any(played[-1][2:4]):
        env.reset(seed=seed)
        play(env, actions[: len(played) - 1])
    return actions[-STEPS:]


def replays(name: str, n: int) -> int:
    """How many of `n` states, once restored, are followed by what followed them first: there, in another environment,
    and there again."""
    env, other, exact = make(name), make(name), 0
    for seed in range(n):
        actions = wander(env, 7 * seed)
        saved, fingerprint = env.snapshot(), env.fingerprint()
        first, same = play(env, actions), True
        for again in (env, other, env):
            again.restore(saved)
            same &= again.fingerprint() == fingerprint and play(again, actions) == first
        exact += same
        other.reset(seed=seed + 1)
    env.close()
    other.close()
    return exact
