"""What the tasks of exported episodes have in common: frames per second, cameras, action space, numeric state.

A dataset has one layout. Tasks that differ in it are exported one by one.
"""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from agent.organise.episode import Step
from agent.record.export.source import NUMBER, Census
from envs import registry
from envs.errors import UserError
from envs.observation import PackedFrame
from envs.task import Task

FLAT = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiBinary, gym.spaces.MultiDiscrete)


@dataclass(frozen=True)
class Layout:
    """The shape of one decision of some tasks.

    fps: decisions per second: the environment's `render_fps` divided by the action repeat. cameras: a name for each.
    space: of an action. state: the names of the numbers in the proprioception, empty where it has none.
    """

    fps: float
    repeat: int
    cameras: tuple[str, ...]
    space: gym.Space
    state: tuple[str, ...] = ()
    spec: EnvSpec | None = None  # of the environment, where there is one task

    @property
    def action_dtype(self) -> np.dtype:
        """Raises UserError for an action that is not one array of numbers."""
        if not isinstance(self.space, FLAT):
            raise UserError(f"an action of {self.space} is no row of numbers; valid: --format minari, which takes any")
        return np.dtype(self.space.dtype)

    @property
    def action_size(self) -> int:
        return prod(self.space.shape)

    def action(self, step: Step) -> np.ndarray:
        """(action_size,) in the dtype of the action space. Raises UserError for numbers that this dtype cannot hold."""
        taken = np.asarray(step.decision.action).reshape(-1)
        action = taken.astype(self.action_dtype)
        if action.size != self.action_size or not np.array_equal(action, taken):
            raise UserError(
                f"an action {taken.tolist()} of {taken.dtype} is none of {self.space}; valid: another --task"
            )
        return action

    def pictures(self, step: Step) -> Sequence[PackedFrame]:
        """The latest frame of each camera: an observation may hold earlier moments too."""
        frames = step.observation.packed_frames()
        if len(frames) % len(self.cameras):
            raise UserError(
                f"an observation of {len(frames)} frames by {len(self.cameras)} cameras; valid: the task as "
                "it was when it was recorded"
            )
        return frames[-len(self.cameras) :]

    def numbers(self, step: Step) -> np.ndarray:
        """(len(state),) float32, the numbers in the proprioception."""
        return np.array([float(each) for each in NUMBER.findall(step.observation.proprioception)], np.float32)


def layout_of(census: Census, fps: float | None = None) -> Layout:
    """The layout that the tasks share. fps: decisions per second, in place of what their environments say.

    Raises UserError for a task that is not there, for tasks that differ, and where no frames per second are known.
    """
    first, *others = [(name, _of(registry.task(name), fps)) for name in census.tasks]
    for name, layout in others:
        for what in ("fps", "cameras", "space"):
            ours, theirs = getattr(first[1], what), getattr(layout, what)
            if ours != theirs:
                raise UserError(
                    f"tasks {first[0]!r} and {name!r} differ in {what}, {ours} and {theirs}; "
                    f"valid: --task {first[0]}, or another one"
                )
    shared = first[1] if not others else replace(first[1], spec=None)
    return replace(shared, state=_names(census.state))


def _of(task: Task, fps: float | None) -> Layout:
    with closing(task.make()) as env:
        rate = env.metadata.get("render_fps") if fps is None else fps * task.env.repeat
        if not rate or rate <= 0:
            raise UserError(
                f"the environment of task {task.name!r} says no render_fps; valid: --fps, decisions per second"
            )
        return Layout(
            _whole(float(rate) / task.env.repeat),
            task.env.repeat,
            _named(task.env.cameras),
            env.action_space,
            spec=env.unwrapped.spec,
        )


def _whole(number: float) -> float:
    """As an int where it is one, which most readers expect of frames per second."""
    return int(number) if number == int(number) else number


def _named(cameras: Sequence[Any]) -> tuple[str, ...]:
    """A name for each camera: its own, or `camera`, with its number where there are several."""
    names = []
    for i, camera in enumerate(cameras):
        own = re.sub(r"\W+", "_", camera).strip("_") if isinstance(camera, str) else ""
        names.append(own if own and own not in names else "camera" if len(cameras) == 1 else f"camera_{i}")
    return tuple(names)


def _names(words: str) -> tuple[str, ...]:
    """`gripper {} {}` -> gripper_0, gripper_1: each number by the word before it."""
    names, word, n = [], "state", 0
    for part in re.findall(r"\{\}|[^\W\d]+", words):
        if part == "{}":
            names.append(f"{word}_{n}")
            n += 1
        else:
            word, n = part, 0
    return tuple(name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names))
