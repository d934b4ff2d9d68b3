"""What every policy is: observations in, decisions out, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from envs.observation import Observation

Action = np.ndarray | np.int64 | np.str_


@dataclass(frozen=True)
class Decision:
    """One answer of a policy.

    action: in the action space: (d,), a number, or text. verdict: the critic's probability, in [0, 1], that the answer
    will work, where the critic was asked. proposals: the answers that were chosen from, with their verdicts. critique:
    the critic's reason for the verdict.
    """

    answer: str
    action: Action
    verdict: float | None = None
    proposals: tuple[tuple[str, float], ...] = ()
    critique: str = ""


class Policy(Protocol):
    """Anything that acts. Its random draws come from the episode's own generator, so that an episode does not depend on
    which others are played beside it."""

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]: ...


@runtime_checkable
class Privileged(Protocol):
    """Acts in the place of a policy, but reads the environments, not observations: experts, and policies that act on
    state."""

    def act_on(self, envs: Sequence[gym.Env]) -> list[Decision]: ...
