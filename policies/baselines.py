"""What comes before any model: zero, random and the scripted expert."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from envs.errors import UserError
from envs.observation import Observation
from envs.task import Task
from policies.action_codec import AnswerCodec
from policies.base import Action, Decision


class ZeroPolicy:
    """Does nothing: the middle of the action space, the first of discrete actions, or no text."""

    def __init__(self, space: gym.Space):
        if isinstance(space, gym.spaces.Discrete):
            self.action = space.start
        elif isinstance(space, gym.spaces.Text):
            self.action = np.str_("")
        else:
            self.action = ((space.high + space.low) / 2).astype(space.dtype)

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return [Decision("", self.action) for _ in observations]


class RandomPolicy:
    """Uniform over the action space; of text first over its length."""

    def __init__(self, space: gym.Space):
        self.space = space

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return [Decision("", self._draw(rng)) for rng in rngs]

    def _draw(self, rng: np.random.Generator) -> Action:
        if isinstance(self.space, gym.spaces.Discrete):
            return self.space.start + rng.integers(self.space.n)
        if isinstance(self.space, gym.spaces.Text):
            length = rng.integers(self.space.min_length, self.space.max_length + 1)
            return np.str_("".join(rng.choice(self.space.character_list, length)))
        return rng.uniform(self.space.low, self.space.high).astype(self.space.dtype)


class ExpertPolicy:
    """The task's scripted expert, through the codec. Privileged: it is shown the environments, not observations."""

    def __init__(self, task: Task, codec: AnswerCodec):
        """Raises UserError for a task without one."""
        if task.expert is None:
            raise UserError(f"task {task.name!r} has no expert; valid: zero, random or a checkpoint")
        self.task, self.codec = task, codec

    def act_on(self, envs: Sequence[gym.Env]) -> list[Decision]:
        answers = [self.codec.encode(*self.task.expert(env)) for env in envs]
        return [Decision(answer, self.codec.decode(answer)[1]) for answer in answers]
