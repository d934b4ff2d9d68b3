"""What comes before any model: zero, random and the scripted expert."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from envs.observation import Observation
from envs.registry import Task
from policies.action_codec import AnswerCodec
from policies.base import Decision


class ZeroPolicy:
    """Does nothing: the middle of the action space."""

    def __init__(self, space: gym.spaces.Box):
        self.action = ((space.high + space.low) / 2).astype(space.dtype)

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return [Decision("", self.action) for _ in observations]


class RandomPolicy:
    """Uniform over the action space."""

    def __init__(self, space: gym.spaces.Box):
        self.space = space

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return [Decision("", rng.uniform(self.space.low, self.space.high).astype(self.space.dtype)) for rng in rngs]


class ExpertPolicy:
    """The task's scripted expert, through the codec. Privileged: it is shown the environments, not observations."""

    def __init__(self, task: Task, codec: AnswerCodec):
        self.task, self.codec = task, codec

    def act_on(self, envs: Sequence[gym.Env]) -> list[Decision]:
        answers = [self.codec.encode(*self.task.expert(env)) for env in envs]
        return [Decision(answer, self.codec.decode(answer)[1]) for answer in answers]
