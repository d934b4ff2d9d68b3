"""Gymnasium-Robotics' Fetch arm and point mazes, where it is installed."""

from typing import Any

import gymnasium as gym
import numpy as np

from envs.sight import Place, Rate, Sight, told
from envs.task import Task
from envs.wrappers import SuccessRule

# Depth is not seen in 64 pixels: one camera tells what the other does not.
BESIDE_FETCH = {"lookat": (1.34, 0.75, 0.53), "distance": 0.6, "azimuth": 90.0, "elevation": -15.0}
BEFORE_FETCH = BESIDE_FETCH | {"azimuth": 180.0}
NEAR_FETCH = {"lookat": (1.3, 0.75, 0.5), "distance": 1.2, "azimuth": 180.0, "elevation": -40.0}
FAR_FETCH = NEAR_FETCH | {"lookat": (1.5, 0.75, 0.45), "distance": 1.7}  # the puck of slide goes out of reach
BINS = 32
ABOVE_MAZE = {"lookat": (0.0, 0.0, 0.0), "azimuth": 90.0, "elevation": -90.0}


def fetch_reach(env: gym.Env) -> tuple[str, np.ndarray]:
    """Straight to the target."""
    return FETCH_REACH.say(env), np.clip([*(10 * _way(env)), 0], -1, 1).astype(np.float32)


def _way(env: gym.Env) -> np.ndarray:
    """(3,) [m] from gripper to goal."""
    seen = env.get_wrapper_attr("observation")
    return seen["desired_goal"] - seen["achieved_goal"]


SPACE = (Place(1.1, 1.6, BINS), Place(0.5, 1.0, BINS), Place(0.3, 0.8, BINS))  # [m] where the gripper comes
FETCH_REACH = Sight(
    {"ball": SPACE, "way": (Rate(0.5, BINS),) * 3},
    lambda env: {"ball": env.get_wrapper_attr("observation")["desired_goal"], "way": _way(env)},
)
FETCH_GRIPPER = Sight(
    {"gripper": SPACE}, lambda env: {"gripper": env.get_wrapper_attr("observation")["observation"][:3]}
)


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


def _fetch(name: str, kind: str, instruction: str, camera: dict[str, Any] = NEAR_FETCH, **more: Any) -> Task:
    source = "within 5 cm, as Gymnasium-Robotics has it"
    return _task(name, f"Fetch{kind}-v4", instruction, "is_success", source, cameras=(BESIDE_FETCH, camera), **more)


def _maze(name: str, kind: str, distance: float, **more: Any) -> Task:
    camera, source = ABOVE_MAZE | {"distance": distance}, "within 45 cm, as Gymnasium-Robotics has it"
    return _task(
        name, f"PointMaze_{kind}-v3", "roll the green ball to the red one", "success", source, cameras=(camera,), **more
    )


ROBOTICS = (
    _fetch(
        "fetch-reach",
        "Reach",
        "bring the gripper to the red ball",
        BEFORE_FETCH,
        expert=fetch_reach,
        **told("bring the gripper to the red ball", FETCH_REACH, FETCH_GRIPPER),
    ),
    _fetch("fetch-push", "Push", "push the block to the red ball"),
    _fetch("fetch-slide", "Slide", "hit the puck so that it slides to the red ball", FAR_FETCH),
    _fetch("fetch-pick-and-place", "PickAndPlace", "bring the block to the red ball"),
    _maze("point-maze", "UMaze", 8.0, frames=2),
    _maze("point-maze-medium", "Medium", 13.0, frames=2),
)
