"""Gymnasium-Robotics' Fetch arm and point mazes, where it is installed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from envs.language import StateLanguage, StateWords
from envs.suites.robotics import experts
from envs.task import ActionWords, EnvSpec, Task, state_teacher
from envs.wrappers import SuccessRule

# Depth is not seen in 64 pixels: one camera tells what the other does not.
BESIDE_FETCH = {"lookat": (1.34, 0.75, 0.53), "distance": 0.6, "azimuth": 90.0, "elevation": -15.0}
BEFORE_FETCH = BESIDE_FETCH | {"azimuth": 180.0}
NEAR_FETCH = {"lookat": (1.3, 0.75, 0.5), "distance": 1.2, "azimuth": 180.0, "elevation": -40.0}
FAR_FETCH = NEAR_FETCH | {"lookat": (1.5, 0.75, 0.45), "distance": 1.7}  # the puck of slide goes out of reach
ABOVE_MAZE = {"lookat": (0.0, 0.0, 0.0), "azimuth": 90.0, "elevation": -90.0}


def _task(
    name: str,
    env_id: str,
    language: StateLanguage,
    expert: Callable[[gym.Env], np.ndarray],
    success: SuccessRule,
    cameras: Sequence[Mapping[str, Any]],
    frames: int = 1,
    levels: int = 9,
) -> Task:
    return Task(
        name,
        "robotics",
        "practice",
        # Gymnasium imports the module before the colon
        EnvSpec(f"gymnasium_robotics:{env_id}", success=success, cameras=cameras, frames=frames),
        actions=ActionWords(levels),
        language=language,
        teacher=state_teacher(language, expert),
    )


def _fetch(
    name: str,
    kind: str,
    instruction: str,
    expert: Callable[[gym.Env], np.ndarray],
    seen: StateWords,
    own: StateWords,
    legend: tuple[str, ...],
    camera: dict[str, Any] = NEAR_FETCH,
    levels: int = 9,
) -> Task:
    source = "within 5 cm, as Gymnasium-Robotics has it"
    return _task(
        name,
        f"Fetch{kind}-v4",
        StateLanguage(instruction, seen, own, legend),
        expert,
        SuccessRule("is_success", at_least=1, source=source),
        (BESIDE_FETCH, camera),
        levels=levels,
    )


def _maze(name: str, kind: str, half: float, distance: float) -> Task:
    """A maze that extends `half` [m] to each side, seen from `distance` [m] above."""
    language = StateLanguage(
        "roll the green ball to the red one", experts.maze_state(half), experts.MAZE_BALL, experts.MAZE_LEGEND
    )
    source = "within 45 cm, as Gymnasium-Robotics has it"
    return _task(
        name,
        f"PointMaze_{kind}-v3",
        language,
        experts.rolled,
        SuccessRule("success", at_least=1, source=source),
        (ABOVE_MAZE | {"distance": distance},),
        frames=2,
        levels=21,
    )


ROBOTICS = (
    _fetch(
        "fetch-reach",
        "Reach",
        "bring the gripper to the red ball",
        experts.fetch_reach,
        experts.FETCH_REACH,
        experts.FETCH_GRIPPER,
        experts.FETCH_REACH_LEGEND,
        BEFORE_FETCH,
    ),
    _fetch(
        "fetch-push",
        "Push",
        "push the block to the red ball",
        experts.fetch_push,
        experts.FETCH_BLOCK,
        experts.FETCH_GRIPPER,
        experts.FETCH_PUSH_LEGEND,
        levels=21,
    ),
    _fetch(
        "fetch-slide",
        "Slide",
        "hit the puck so that it slides to the red ball",
        experts.fetch_slide,
        experts.FETCH_PUCK,
        experts.FETCH_BAT,
        experts.FETCH_SLIDE_LEGEND,
        FAR_FETCH,
        levels=21,
    ),
    _fetch(
        "fetch-pick-and-place",
        "PickAndPlace",
        "bring the block to the red ball",
        experts.fetch_pick_and_place,
        experts.FETCH_BLOCK,
        experts.FETCH_FINGERS,
        experts.FETCH_PICK_LEGEND,
        levels=21,
    ),
    _maze("point-maze", "UMaze", 2.5, 8.0),
    _maze("point-maze-medium", "Medium", 4.0, 13.0),
)
