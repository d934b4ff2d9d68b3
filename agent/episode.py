"""What happened: steps, and episodes made of them."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from envs.observation import Observation
from policies.base import Decision

Ending = Literal["terminated", "truncated", "broken"]


@dataclass(frozen=True)
class Step:
    """One decision, what it was based on, and the reward it brought."""

    observation: Observation
    decision: Decision
    reward: float


@dataclass
class Episode:
    """From reset to the end. `broken`: the environment or the reward raised, which is not a failure."""

    task: str
    seed: int
    attempt: int = 0
    steps: list[Step] = field(default_factory=list)
    success: bool = False
    ending: Ending = "truncated"
    error: str = ""
    final_frame: np.ndarray | None = None  # (H, W, 3) uint8, after the last step
    final_proprioception: str = ""

    @property
    def total_reward(self) -> float:
        return sum(step.reward for step in self.steps)
