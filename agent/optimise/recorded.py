"""Rows from recorded demonstrations: replayed in the task from their seeds, else drawn in their recorded states, else
of their own pictures.

A replayed episode gives our frames, our words and our judgement of success: one that does not succeed again is left
out, and so is one whose start is reserved for evaluation. So it is of one that records MuJoCo's states, whose start is
not compared. Of any other only its pictures can be used, as they were taken, and nobody knows whether it succeeded.
"""

from collections import deque
from collections.abc import Collection, Iterator
from contextlib import closing
from functools import cache
from itertools import islice
from typing import Any

import cv2
import gymnasium as gym
import numpy as np

from agent.organise.demonstrations import states
from agent.organise.demonstrations.demonstration import Demonstration
from agent.organise.demonstrations.reading import read
from agent.organise.rows import Example
from agent.record.console import console, say
from envs.errors import UserError, shown
from envs.foreign.teaching import Demonstrations
from envs.observation import Observation
from envs.snapshot import Restorable
from envs.splits import SPLITS
from envs.starts import is_among, reserved
from envs.task import Task
from policies.action_codec import codec_for
from policies.dialect import TERSE, Dialect

SAME_RATE = 0.01  # relative difference of actions per second that is rounding
SAME_RANGE = 0.01  # an action this share of its range beyond a bound is rounding


def is_recorded(task: Task) -> bool:
    """Whether recorded demonstrations alone show the task."""
    return task.teacher.expert is None and isinstance(task.teacher.shown_by, Demonstrations)


def check_recorded(task: Task) -> None:
    """Raises UserError for demonstrations that are missing, empty, or of which no rows can be made."""
    first = next(read(task.teacher.shown_by, task.env.id), None)
    if first is None:
        raise UserError(f"no episode in {str(task.teacher.shown_by)!r}; valid: at least one")
    with closing(task.make()) as env:
        _check(task, first, _is_drawn(task, env, first))
    _action(task, first, first.actions[0])


def recorded_examples(task: Task, n: int, dialect: Dialect = TERSE) -> Iterator[Example]:
    """Every step of the first `n` episodes, or of as many as there are; says how many of them were used.

    Raises UserError as `check_recorded` does.
    """
    env, held_back = task.make(), cache(lambda: reserved(task))  # hundreds of resets, for recorded seeds alone
    looked = used = 0
    try:
        for demonstration in islice(read(task.teacher.shown_by, task.env.id), n):
            is_drawn = _is_drawn(task, env, demonstration)
            _check(task, demonstration, is_drawn)
            if demonstration.seed is not None:
                examples = _replayed(task, env, demonstration, dialect, held_back())
            elif is_drawn:
                examples = _drawn(task, env, demonstration, dialect)
            else:
                examples = _pictured(task, demonstration, dialect)
            looked += 1
            used += bool(examples)
            yield from examples
    finally:
        env.close()
    text = f"{used} of {looked} demonstrations in {task.teacher.shown_by} give rows for {task.name}"
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _is_drawn(task: Task, env: Restorable, demonstration: Demonstration) -> bool:
    """Whether its recorded states are drawn, and not its pictures taken as they are. Says once why states that are
    there are not. Raises UserError where there are no pictures either."""
    if demonstration.states is None or demonstration.seed is not None:
        return False
    if why := states.misfit(task, env, demonstration):
        if demonstration.pictures is None:
            raise UserError(f"{demonstration.name} has no pictures, and {why}; valid: one of them")
        _say_once(f"{task.teacher.shown_by}: its pictures are taken as they are, since {why}")
    return not why


@cache
def _say_once(line: str) -> None:
    say(line)


def _check(task: Task, demonstration: Demonstration, is_drawn: bool) -> None:
    """Raises UserError where the task needs what was not recorded."""
    what = f"{demonstration.name} records"
    fps, ours = demonstration.fps, _decisions_per_s(task) if demonstration.fps else None
    fits = bool(fps and ours) and abs(fps - ours) <= SAME_RATE * ours
    if task.env.repeat > 1 and task.teacher.shown_by.format and not fits:
        wanted = f", or {ours:g} decisions a second, where it has {fps:g}" if ours else ""
        raise UserError(
            f"{what} every step, and task {task.name!r} has repeat = {task.env.repeat}; valid: repeat: 1{wanted}"
        )
    if demonstration.seed is not None:
        return
    if fps and ours and not fits:
        raise UserError(
            f"{what} no seed to replay it from, and {fps:g} actions a second, where task {task.name!r} takes {ours:g} "
            "(render_fps / repeat); valid: as many"
        )
    if not len(demonstration.actions):
        raise UserError(f"{what} no action; valid: at least one")
    if not (demonstration.instruction or getattr(task.language, "text", "")):
        raise UserError(f"{what} no instruction, and that of task {task.name!r} differs by the episode; valid: one")
    if is_drawn:
        return
    if demonstration.pictures is None:
        raise UserError(f"{what} neither a seed to replay it from nor pictures; valid: one of them")
    if task.language.thought_regex:
        raise UserError(
            f"{what} no seed to replay it from, and an answer in task {task.name!r} begins with the state, "
            "which its pictures do not tell; valid: thinks: false, or a recording with MuJoCo's states"
        )


@cache
def _decisions_per_s(task: Task) -> float | None:
    """None where the environment does not say how many steps a second has."""
    with closing(task.make()) as env:
        fps = env.metadata.get("render_fps")
    return fps / task.env.repeat if fps else None


def _replayed(
    task: Task, env: Restorable, demonstration: Demonstration, dialect: Dialect, held_back: Collection[bytes]
) -> list[Example]:
    """Its steps in the task; none where it does not succeed, or begins with a start that is held back, or with a seed
    of another split than practice."""
    if any(demonstration.seed in some for split, some in SPLITS.items() if split != "practice"):
        return []
    codec, thought = codec_for(task), task.teacher.thought or (lambda env: "")
    env.reset(seed=demonstration.seed, options=dict(demonstration.options) or None)
    if is_among(task, env, demonstration.seed, held_back):
        return []
    examples, info = [], {}
    for recorded in demonstration.actions:
        action, observation = _action(task, demonstration, recorded), task.observe(env)
        answer = codec.encode(thought(env), action)
        examples.append(Example(observation.packed_frames(), dialect.act(observation), answer))
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break
    return examples if info.get("success") else []


def _drawn(task: Task, env: Restorable, demonstration: Demonstration, dialect: Dialect) -> list[Example]:
    """The environment's own pictures and words of the recorded states, with the actions; none where the last action
    does not end in success."""
    actions = [_action(task, demonstration, recorded) for recorded in demonstration.actions]
    if not states.succeeds(env, demonstration, actions[-1]):
        return []
    instruction, codec = getattr(task.language, "text", "") or demonstration.instruction, codec_for(task)
    history: deque[np.ndarray] = deque(maxlen=task.env.frames)
    examples = []
    for moment, action in zip(states.moments(task, env, demonstration), actions, strict=True):
        history.extend([moment.pictures] * (1 if history else task.env.frames))
        observation = Observation(np.concatenate(history), instruction, moment.proprioception)
        answer = codec.encode(moment.thought, action)
        examples.append(Example(observation.packed_frames(), dialect.act(observation), answer))
    return examples


def _pictured(task: Task, demonstration: Demonstration, dialect: Dialect) -> list[Example]:
    """Its own pictures, scaled as the task's, with its actions in words."""
    taken, codec = demonstration.pictures()[:, _cameras(task, demonstration)], codec_for(task)
    size = task.env.image_size
    history: deque[np.ndarray] = deque(maxlen=task.env.frames)
    instruction = demonstration.instruction or task.language.text
    examples = []
    for pictures, recorded in zip(taken, demonstration.actions, strict=True):
        scaled = [cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) for picture in pictures]
        history.extend([np.stack(scaled)] * (1 if history else task.env.frames))
        observation = Observation(np.concatenate(history), instruction)
        answer = codec.encode("", _action(task, demonstration, recorded))
        examples.append(Example(observation.packed_frames(), dialect.act(observation), answer))
    return examples


def _cameras(task: Task, demonstration: Demonstration) -> list[int]:
    """Which of the recorded pictures each of the task's cameras has: the one of its name, or of the name's end, where
    both have names (`eye_in_hand` of `robot0_eye_in_hand`), else that in its place. Raises UserError for a lack."""
    wanted, recorded = task.env.cameras, demonstration.cameras
    if not recorded or not all(isinstance(camera, str) and camera for camera in wanted):
        n = len(recorded) or demonstration.pictures().shape[1]
        if n < len(wanted):
            raise UserError(
                f"{demonstration.name} has {n} pictures of each moment, and task {task.name!r} "
                f"{len(wanted)} cameras; valid: as many"
            )
        return list(range(len(wanted)))
    found = []
    for camera in wanted:
        named = [i for i, name in enumerate(recorded) if camera == name or camera.endswith(f"_{name}")]
        if not named:
            raise UserError(f"{demonstration.name} has no pictures of camera {camera!r}; valid: {', '.join(recorded)}")
        found.append(named[0])
    return found


def _action(task: Task, demonstration: Demonstration, recorded: Any) -> Any:
    """In the task's action space, clipped to its bounds. Raises UserError for one of another space."""
    space = codec_for(task).action.space
    if isinstance(space, gym.spaces.Discrete):
        action = np.asarray(recorded).reshape(-1)
        fits = action.size == 1 and action[0] == int(action[0]) and space.contains(int(action[0]))
        action = np.int64(action[0]) if fits else None
    elif isinstance(space, gym.spaces.Box):
        action = np.asarray(recorded, np.float64)
        fits = action.size == np.prod(space.shape) and np.isfinite(action).all()
        if fits and demonstration.seed is None:  # no replay would show what clipping does to it
            _check_range(task, demonstration, action.reshape(space.shape), space)
        action = action.reshape(space.shape).clip(space.low, space.high).astype(space.dtype) if fits else None
    else:
        fits, action = space.contains(recorded), recorded
    if not fits:
        raise UserError(f"{demonstration.name} has an action {shown(recorded)}; valid for {task.name!r}: of {space}")
    return action


def _check_range(task: Task, demonstration: Demonstration, action: np.ndarray, space: gym.spaces.Box) -> None:
    """Raises UserError for an action farther beyond the bounds than rounding explains."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    slack = SAME_RANGE * np.where(np.isfinite(high - low), high - low, 0.0)
    beyond = (action < low - slack) | (action > high + slack)
    if beyond.any():
        at = tuple(np.argwhere(beyond)[0])
        raise UserError(
            f"{demonstration.name} has an action with {action[at]:g} in place {at[0] if len(at) == 1 else at}; valid "
            f"for {task.name!r}: {low[at]:g} to {high[at]:g}"
        )
