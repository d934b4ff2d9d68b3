"""Episodes in a worker process: the pool is told which environment is at work, and is handed each finished episode.

If the worker dies, its pulse says which starts had begun, and which one's environment was at work.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.collect.budget import Spent
from agent.collect.processes.serving import Pulse
from agent.organise.episode import Episode
from envs.observation import Observation
from envs.snapshot import Restorable, Snapshot
from envs.task import Task
from policies.base import Decision, Policy

Key = tuple[int, int]  # seed and attempt, of one start and its episode


class OvertimeError(Exception):
    """An episode took longer than limits.episode_s."""


@dataclass(frozen=True)
class Finished:
    """A message: an episode, and what was spent on it."""

    episode: Episode
    spent: Spent

    @property
    def is_overtime(self) -> bool:
        return self.episode.error.startswith(OvertimeError.__name__)


class WatchedTask(Task):
    """A task whose environments are watched. episode_s: [s] that an episode may take; None: any."""

    def __init__(self, task: Task, pulse: Pulse, episode_s: float | None):
        vars(self).update(vars(task), _pulse=pulse, _episode_s=episode_s)  # it is frozen

    def make(self, **kwargs: Any) -> "WatchedEnv":
        self._pulse.beat()
        return WatchedEnv(super().make(**kwargs), self._pulse, self._episode_s)


class WatchedEnv(Restorable):
    """Shows in the pulse that it is at work. A rollout resets or restores it once for each start, in their order."""

    def __init__(self, env: Restorable, pulse: Pulse, episode_s: float | None):
        super().__init__(env.env, env.way)
        self._pulse, self._episode_s = pulse, episode_s
        self._index, self._began_s, self._is_restoring = 0, 0.0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if not self._is_restoring:
            self._begin()
        return super().reset(seed=seed, options=options)

    def restore(self, snapshot: Snapshot) -> None:
        self._begin()
        self._is_restoring = True
        try:
            super().restore(snapshot)
        finally:
            self._is_restoring = False

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Raises OvertimeError in an episode that has taken too long."""
        self._pulse.touch(self._index)
        if self._episode_s and time.monotonic() - self._began_s > self._episode_s:
            raise OvertimeError(f"limits.episode_s = {self._episode_s:g} s passed")
        return super().step(action)

    def _begin(self) -> None:
        self._index, self._began_s = self._pulse.begin(), time.monotonic()


class WatchedPolicy:
    """A policy around a policy: while it decides, no environment is at work."""

    def __init__(self, policy: Policy, pulse: Pulse):
        self._policy, self._pulse = policy, pulse

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        self._pulse.rest()
        decisions = self._policy.act(observations, rngs)
        self._pulse.rest()
        return decisions


class WatchedEnding:
    """A rollout's first subscriber: what follows, such as a certificate, is work on this episode's start."""

    def __init__(self, starts: Mapping[Key, int], pulse: Pulse):
        self._starts, self._pulse = starts, pulse

    def on_episode(self, episode: Episode) -> None:
        self._pulse.touch(self._starts[episode.seed, episode.attempt])
