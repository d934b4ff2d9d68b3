"""What practice costs beside the model, the physics and the pictures: recording, words, checks, the store."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from agent.collect.budget import Spent
from agent.collect.rollout import Subscriber, rollout
from agent.collect.streamed import Streamed
from agent.collect.verify import Verifier
from agent.collect.workers import Job, policy_of
from agent.measure.benches.sides import bench_row
from envs.observation import Observation
from envs.registry import task
from envs.snapshot import Restorable
from envs.task import Task
from policies.base import Decision, Policy


class Clock:
    """CPU seconds of what it times."""

    def __init__(self):
        self.seconds = 0.0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.process_time() - started

        return timed


class TimedTask(Task):
    """A task whose environments' own steps are timed, and what is seen of them."""

    def __init__(self, timed: Task, clock: Clock):
        vars(self).update(vars(timed), _clock=clock)  # it is frozen

    def make(self, **kwargs: Any) -> Restorable:
        env = super().make(**kwargs)
        env.unwrapped.step = self._clock.timed(env.unwrapped.step)
        return env

    def observe(self, env: Restorable) -> Observation:
        return self._clock.timed(super().observe)(env)


class TimedPolicy:
    """A policy whose decisions are timed."""

    def __init__(self, policy: Policy, clock: Clock):
        self._act = clock.timed(policy.act)

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return self._act(observations, rngs)


def practising(
    name: str, checkpoint: Path, n: int = 64, n_envs: int = 64, repetitions: int = 3
) -> list[dict[str, Any]]:
    """CPU milliseconds per decision of sampled episodes that are stored, without and with certificates, against those
    of the policy's decisions, the environment's own steps and its pictures in the same rollout."""
    _measured(name, checkpoint, n_envs, n_envs, certify=True)  # to warm up
    rows = []
    for certify in (False, True):
        turns = [_measured(name, checkpoint, n, n_envs, certify) for _ in range(repetitions)]
        whole, parts = np.median(turns, axis=0)
        how = "with certificates" if certify else "without"
        what = f"{name}: episodes that are stored, {how} | the model, physics and pictures alone, {n_envs} environments"
        rows.append(bench_row(f"practising, {how}", "cpu-ms/decision", float(whole), float(parts), what))
    return rows


def _measured(name: str, checkpoint: Path, n: int, n_envs: int, certify: bool) -> tuple[float, float]:
    """Of all, and of model, physics and pictures."""
    clock, job = Clock(), Job(name, checkpoint, [(seed, 0) for seed in range(n)], temperature=1.0)
    with policy_of(job) as policy, TemporaryDirectory() as scratch, Verifier() as verifier:
        stored = Streamed(Path(scratch) / "episodes", Path(scratch) / "quarantine", Spent)
        subscribers: list[Subscriber] = [*([verifier] if certify else []), stored]
        started = time.process_time()
        acting = TimedTask(task(name), clock), TimedPolicy(policy, clock)
        episodes = rollout(*acting, job.starts, n_envs, subscribers)
        stored.flush()
        spent = time.process_time() - started
    decisions = sum(len(e.steps) for e in episodes)
    return 1000 * spent / decisions, 1000 * clock.seconds / decisions
