"""What happened: steps, and episodes made of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from envs.observation import Observation
from envs.snapshot import Snapshot
from policies.base import Decision
from policies.critic import Critique

Ending = Literal["terminated", "truncated", "looped", "broken"]


@dataclass(frozen=True)
class Step:
    """One decision, what it was based on, and the reward it brought."""

    observation: Observation
    decision: Decision
    reward: float
    fingerprint: bytes = b""  # of the environment's state that was observed
    snapshot: Snapshot | None = field(default=None, repr=False)  # that state, where it was asked for; not stored


@dataclass(frozen=True)
class Moment:
    """A state of a recorded episode: how to return to it, and what was seen there."""

    snapshot: Snapshot
    observation: Observation
    fingerprint: bytes


@dataclass
class Episode:
    """From reset to the end. `broken`: the environment or the reward raised, which is not a failure. `looped`: ended
    as a failure where a greedy policy saw again what it had seen, as it would go round until its time is over.

    A branch shares its first `branched_at` steps with the attempt that it left. conclusion: the policy's own
    verdict whether it succeeded, of `end`, where it was asked.
    """

    task: str
    seed: int
    attempt: int = 0
    steps: list[Step] = field(default_factory=list)
    success: bool = False
    ending: Ending = "truncated"
    error: str = ""
    final_frame: np.ndarray | None = None  # (H, W, 3) uint8, after the last step
    final_proprioception: str = ""
    final_fingerprint: bytes = b""
    conclusion: Critique | None = None
    options: dict[str, Any] = field(default_factory=dict)  # of the reset
    branched_at: int = 0
    begins_at: Moment | None = None  # where the first step is not a reset's; not stored
    versions: dict[str, str] = field(default_factory=dict)  # of what it was simulated with

    @property
    def own(self) -> list[Step]:
        """The steps that no other attempt shares."""
        return self.steps[self.branched_at :]

    @property
    def end(self) -> Observation | None:
        """What was seen after the last step and at first, without a word of how it went; None where it broke."""
        if self.final_frame is None or not self.steps:
            return None
        first = self.steps[0].observation
        return Observation(self.final_frame[None], first.instruction, self.final_proprioception).since(first)

    @property
    def total_reward(self) -> float:
        return sum(step.reward for step in self.steps)


def whole_by_task(episodes: Iterable[Episode]) -> defaultdict[str, list[Episode]]:
    """Task -> its episodes, of another task none; broken ones are left out."""
    of_task = defaultdict(list)
    for episode in episodes:
        if episode.ending != "broken":
            of_task[episode.task].append(episode)
    return of_task


@cache
def simulation_versions() -> dict[str, str]:
    """Package -> version, of all that decides how an episode goes once its actions are known."""
    return {name: version(name) for name in ("handeye", "gymnasium", "mujoco", "numpy")}
