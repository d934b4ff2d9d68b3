"""Scripted experts of Gymnasium-Robotics' tasks, and what there is to see of each: privileged, shown the state.

An expert keeps nothing between two steps. What it does follows from the numbers that its thought and the robot's own
sense of itself tell.
"""

from collections import deque
from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from envs.sight import Place, Rate, Sight

BINS = 32
SPACE = (Place(1.1, 1.6, BINS), Place(0.5, 1.0, BINS), Place(0.3, 0.8, BINS))  # [m] where the gripper comes
FAR = (Place(0.8, 1.8, 2 * BINS), Place(0.4, 1.1, 2 * BINS), Place(0.3, 0.8, BINS))  # [m] where the puck slides
WAY = (Rate(0.5, 2 * BINS),) * 3  # [m]
GAIN = 10  # of the motors, which go 5 cm for 1, per metre: half of the way
OPEN, SHUT = 1.0, -1.0  # what the fingers are told
ABOVE = 0.1  # [m] over a thing that is not to be touched
HELD = 0.06  # [m] fingers nearer than this hold a block, which is 5 cm wide


def _fetch(env: gym.Env) -> dict[str, np.ndarray]:
    """By the layout of Gymnasium-Robotics' observations; places and ways (3,) [m], opening (1,) [m]."""
    told = env.get_wrapper_attr("observation")
    state, ball = told["observation"], told["desired_goal"]
    seen = {"ball": ball, "gripper": state[:3], "way": ball - told["achieved_goal"]}
    if state.size > 10:  # there is a block
        seen |= {"block": state[3:6], "from": state[3:6] - state[:3], "opening": state[9:11].sum(keepdims=True)}
    return seen


def _moved(way: np.ndarray, fingers: float = 0.0) -> np.ndarray:
    """(3,) [m] -> (4,) action."""
    return np.clip([*(GAIN * way), fingers], -1, 1).astype(np.float32)


FETCH_REACH = Sight({"ball": SPACE, "way": (Rate(0.5, BINS),) * 3}, _fetch)
FETCH_GRIPPER = Sight({"gripper": SPACE}, _fetch)


def fetch_reach(env: gym.Env) -> tuple[str, np.ndarray]:
    """Straight to the target."""
    return FETCH_REACH.say(env), _moved(_fetch(env)["way"])


FETCH_BLOCK = Sight({"block": SPACE, "ball": SPACE, "from": WAY, "way": WAY}, _fetch)
FETCH_HAND = Sight({"gripper": SPACE, "opening": (Place(0.0, 0.1, BINS),)}, _fetch)


def fetch_pick_and_place(env: gym.Env) -> tuple[str, np.ndarray]:
    """Over the block with open fingers, down, shut them, and straight to the target."""
    seen = _fetch(env)
    to, opening = seen["from"], seen["opening"].item()
    if np.linalg.norm(to) < 0.02:
        action = _moved(seen["way"] if opening < HELD else np.zeros(3), SHUT)
    elif np.linalg.norm(to[:2]) < 0.02:
        action = _moved(to, OPEN)
    else:
        action = _moved(to + [0, 0, ABOVE], OPEN)
    return FETCH_BLOCK.say(env), action


def fetch_push(env: gym.Env) -> tuple[str, np.ndarray]:
    """Up, over to the far side of the block, down, and towards the target."""
    seen = _fetch(env)
    return FETCH_BLOCK.say(env), _moved(_behind(seen["from"], seen["way"], 0.08))


def _behind(to: np.ndarray, way: np.ndarray, distance: float) -> np.ndarray:
    """(3,) [m] where the gripper is to go next, of which the thing is at `to`, and `way` from there its target."""
    line = way[:2] / max(np.linalg.norm(way[:2]), 1e-6)
    along, aside = to[:2] @ line, to[:2] - (to[:2] @ line) * line
    low = to[2] > -0.03
    if low and along > 0.02 and np.linalg.norm(aside) < 0.02:
        return np.array([*(2 * aside + 0.05 * line), to[2]])
    start = to[:2] - distance * line
    if np.linalg.norm(start) < 0.02:
        return np.array([*start, to[2]])
    return np.array([*(start if to[2] < -0.05 else np.zeros(2)), to[2] + ABOVE])
