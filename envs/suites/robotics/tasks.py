"""Gymnasium-Robotics' Fetch arm and point mazes, where it is installed."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from envs.language import Sight, told
from envs.suites.robotics import experts as experts
from envs.task import Task
from envs.wrappers import SuccessRule

# Depth is not seen in 64 pixels: one camera tells what the other does not.
BESIDE_FETCH = {"lookat": (1.34, 0.75, 0.53), "distance": 0.6, "azimuth": 90.0, "elevation": -15.0}
BEFORE_FETCH = BESIDE_FETCH | {"azimuth": 180.0}
NEAR_FETCH = {"lookat": (1.3, 0.75, 0.5), "distance": 1.2, "azimuth": 180.0, "elevation": -40.0}
FAR_FETCH = NEAR_FETCH | {"lookat": (1.5, 0.75, 0.45), "distance": 1.7}  # the puck of slide goes out of reach
ABOVE_MAZE = {"lookat": (0.0, 0.0, 0.0), "azimuth": 90.0, "elevation": -90.0}


def _task(name: str, env_id: str, instruction: str, key: str, source: str, **more: Any) -> Task:
    return Task(
        name,
        f"gymnasium_robotics:{env_id}",  # Gymnasium imports the module before the colon
        "robotics",
        "practice",
        instruction=lambda env: instruction,
        success=SuccessRule(key, at_least=1, source=source),
        **more,
    )


def _fetch(
    name: str,
    kind: str,
    instruction: str,
    expert: Callable[[gym.Env], tuple[str, np.ndarray]],
    seen: Sight,
    own: Sight,
    camera: dict[str, Any] = NEAR_FETCH,
    **more: Any,
) -> Task:
    return _task(
        name,
        f"Fetch{kind}-v4",
        instruction,
        "is_success",
        "within 5 cm, as Gymnasium-Robotics has it",
        cameras=(BESIDE_FETCH, camera),
        expert=expert,
        **told(instruction, seen, own),
        **more,
    )


def _maze(name: str, kind: str, half: float, distance: float) -> Task:
    """Of a maze that goes `half` [m] to each side, seen from `distance` [m] above."""
    instruction, seen = "roll the green ball to the red one", experts.maze_sight(half)
    return _task(
        name,
        f"PointMaze_{kind}-v3",
        instruction,
        "success",
        "within 45 cm, as Gymnasium-Robotics has it",
        cameras=(ABOVE_MAZE | {"distance": distance},),
        frames=2,
        levels=21,
        expert=lambda env: (seen.say(env), experts.rolled(env)),
        **told(instruction, seen, experts.MAZE_BALL),
    )


ROBOTICS = (
    _fetch(
        "fetch-reach",
        "Reach",
        "bring the gripper to the red ball",
        experts.fetch_reach,
        experts.FETCH_REACH,
        experts.FETCH_GRIPPER,
        BEFORE_FETCH,
    ),
    _fetch(
        "fetch-push",
        "Push",
        "push the block to the red ball",
        experts.fetch_push,
        experts.FETCH_BLOCK,
        experts.FETCH_GRIPPER,
        levels=21,
    ),
    _fetch(
        "fetch-slide",
        "Slide",
        "hit the puck so that it slides to the red ball",
        experts.fetch_slide,
        experts.FETCH_PUCK,
        experts.FETCH_BAT,
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
        levels=21,
    ),
    _maze("point-maze", "UMaze", 2.5, 8.0),
    _maze("point-maze-medium", "Medium", 4.0, 13.0),
)
