"""What comes before any model: zero, random and the expert, scripted or trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np

from envs.errors import UserError
from envs.foreign.actions import rebuilt
from envs.foreign.spaces import leaves
from envs.foreign.teaching import Demonstrations, Sb3Expert, TrainedExpert
from envs.observation import Observation
from envs.task import Task
from policies.action_codec import AnswerCodec
from policies.base import Action, Decision
from policies.experts import cache

# Tasks without a scripted expert -> the .zip of a trained one that ships.
SHIPPED = {path.stem: path for path in (Path(__file__).parent / "experts").glob("*.zip")}
AHEAD = ("hopper", "pusher")  # tasks whose shipped expert needs lookahead to succeed often enough


class ZeroPolicy:
    """Does nothing: the middle of the action space, the first of discrete actions, or no text; in each part."""

    def __init__(self, space: gym.Space):
        self.action = rebuilt(space, (_nothing(leaf) for _, leaf in leaves(space)))

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return [Decision("", self.action) for _ in observations]


def _nothing(space: gym.Space) -> Action:
    if isinstance(space, gym.spaces.Text):
        return np.str_("")
    if isinstance(space, gym.spaces.MultiBinary):
        return np.zeros(space.shape, space.dtype)
    if not isinstance(space, gym.spaces.Box):
        return space.start
    if space.dtype.kind == "f":
        return np.asarray((space.high + space.low) / 2, space.dtype)
    # whose sum may be beyond their kind, as of bytes
    return np.asarray((space.high.astype(np.float64) + space.low) / 2).astype(space.dtype)


class RandomPolicy:
    """Uniform over the action space, each part of it on its own; of text first over its length."""

    def __init__(self, space: gym.Space):
        self.space, self._leaves = space, [leaf for _, leaf in leaves(space)]

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return [Decision("", rebuilt(self.space, (_drawn(leaf, rng) for leaf in self._leaves))) for rng in rngs]


def _drawn(space: gym.Space, rng: np.random.Generator) -> Action:
    if isinstance(space, gym.spaces.Discrete):
        return space.start + rng.integers(space.n)
    if isinstance(space, gym.spaces.Text):
        length = rng.integers(space.min_length, space.max_length + 1)
        return np.str_("".join(rng.choice(space.character_list, length)))
    if isinstance(space, gym.spaces.MultiBinary):
        return rng.integers(2, size=space.shape, dtype=space.dtype)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return (space.start + rng.integers(space.nvec)).astype(space.dtype)
    drawn = np.asarray(rng.uniform(space.low, space.high)).astype(space.dtype)
    return np.asarray(drawn.clip(space.low, space.high))  # what is rounded to float16 may lie beyond a bound


class ExpertPolicy:
    """The task's expert, through the codec. Privileged: it reads the environments, not observations."""

    def __init__(self, task: Task, codec: AnswerCodec):
        """Raises UserError for a task without one."""
        if task.teacher.expert is None:
            recorded = task.teacher.shown_by
            why = f"is shown by {recorded} alone" if isinstance(recorded, Demonstrations) else "has no expert"
            raise UserError(f"task {task.name!r} {why}; valid: zero, random or a checkpoint")
        self.task, self.codec = task, codec

    def act_on(self, envs: Sequence[gym.Env]) -> list[Decision]:
        answers = [self.codec.encode(*self.task.teacher.expert(env)) for env in envs]
        return [Decision(answer, self.codec.decode(answer)[1]) for answer in answers]


def has_expert(task: Task) -> bool:
    """Whether the task itself brings one."""
    return task.teacher.expert is not None


def with_expert(task: Task, model: Path | None = None) -> Task:
    """Chooses which expert demonstrates a task, in this order: the .zip given, the scripted one, the one that the
    task's file names, the one that ships. A task that only recorded demonstrations show is left as it is.

    Raises UserError as `policies.sb3.load` does, for an expert that is still to be trained, and for a .zip where only
    the scripted expert knows the thoughts.
    """
    teacher = task.teacher
    path = model or (None if teacher.expert else _declared(task) or SHIPPED.get(task.name))
    if path is None:
        return task
    if task.language.thought_regex and teacher.thought is None:
        raise UserError(f"task {task.name!r} asks for a thought, and {str(path)!r} has none; valid: a task without")
    from policies.lookahead import Lookahead  # slow to import, and only needed here
    from policies.sb3 import load

    policy, thought = load(path, task), teacher.thought or (lambda env: "")
    ahead = model is None and task.name in AHEAD
    action = Lookahead(policy, task).action if ahead else lambda env: policy.action(policy.observe(env))
    return replace(task, teacher=replace(teacher, expert=lambda env: (thought(env), action(env))))


def _declared(task: Task) -> Path | None:
    """The .zip that a declared task's file names or asks to be trained. Raises UserError for one that is not trained
    yet."""
    shown_by = task.teacher.shown_by
    if isinstance(shown_by, TrainedExpert):
        return shown_by.path
    if not isinstance(shown_by, Sb3Expert):
        return None
    found = cache.cached(task)
    if found is None:
        how = f"handeye pretrain with this task, or: {cache.how_to_train(task)}"
        raise UserError(f"the expert of task {task.name!r} is not trained yet; valid after {how}")
    return found
