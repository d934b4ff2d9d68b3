"""Gymnasium's Reacher in words: the pose with the tip on the target, how far the arm is from it, and springs to it.

A picture shows the pose, and the joints tell where the arm is; the turn and the action follow from these.
"""

import re
from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from envs.language import Place, Rate, Sight
from envs.suites.gymnasium_own.experts import wrapped

STIFFNESS, DAMPING = 2.0, 0.1  # of the springs, in units of the motors, a radian and a radian a second
# With 32 places, springs that know no more than the words succeed in 83 % of episodes; with 48, in 97 %.
ANGLE = Place(-np.pi, np.pi, 48)  # [rad]
BOARD = Place(-0.22, 0.22, 32)  # [m]
TURNING = Rate(20.0, 20)  # [rad/s]
TO_TURN = Rate(20, 20)  # places of an angle


def pose(env: gym.Env) -> np.ndarray:
    """(2,) [rad]: shoulder and elbow, bent to the left, with the tip on the target: inverse kinematics of two links."""
    model, data = env.unwrapped.model, env.unwrapped.data
    x, y = data.body("target").xpos[:2]
    upper, lower = model.body("body1").pos[0], model.body("fingertip").pos[0]
    bend = ((x**2 + y**2) - upper**2 - lower**2) / (2 * upper * lower)
    elbow = np.arccos(np.clip(bend, -1, 1))
    return np.array([np.arctan2(y, x) - np.arctan2(lower * np.sin(elbow), upper + lower * np.cos(elbow)), elbow])


def _arm(env: gym.Env) -> dict[str, list[float]]:
    data = env.unwrapped.data
    (shoulder, elbow), speeds = map(wrapped, data.qpos[:2]), data.qvel
    return {"arm": [shoulder, speeds[0], elbow, speeds[1]]}


ARM = Sight({"arm": (ANGLE, TURNING) * 2}, _arm)  # what joints know of themselves


def _seen(env: gym.Env) -> dict[str, Sequence[float]]:
    goal = [wrapped(angle) for angle in pose(env)]
    turn = _turn([int(ANGLE.word(angle)) for angle in goal], ARM.say(env))
    return {"target": env.unwrapped.data.body("target").xpos[:2], "pose": goal, "turn": turn}


SEEN = Sight({"target": (BOARD, BOARD), "pose": (ANGLE, ANGLE), "turn": (TO_TURN, TO_TURN)}, _seen)


def expert(env: gym.Env) -> np.ndarray:
    """What its words call for."""
    return called_for(SEEN.say(env), ARM.say(env))


def called_for(thought: str, proprioception: str) -> np.ndarray:
    """The action (2,) that a thought calls for: each joint drawn by a damped spring."""
    turn, speed = np.array(_numbers(thought)[4:]), np.array(_numbers(proprioception)[1::2])
    force = STIFFNESS * turn * (ANGLE.high - ANGLE.low) / ANGLE.n - DAMPING * speed * TURNING.high / TURNING.n
    return np.clip(force, -1, 1).astype(np.float32)


def settled(thought: str, proprioception: str) -> str:
    """The thought with its turn as it follows from the pose that it says."""
    return _with_pose(thought, _numbers(thought)[2:4], proprioception)


def correct(
    thoughts: Sequence[str], proprioception: Sequence[str], rewards: Sequence[float], actions: Sequence[np.ndarray]
) -> list[str]:
    """The thoughts of a successful episode's T steps, corrected; `proprioception` has T + 1, the last after the end.

    The pose is where the arm was when its tip was nearest to the target. Thoughts of an arm that is bent to the right
    there stay as they are.
    """
    # [m]: a reward is less than nothing by the distance and by the square of the action
    distances = [-reward - np.square(action).sum() for reward, action in zip(rewards, actions, strict=True)]
    proven = _numbers(proprioception[int(np.argmin(distances)) + 1])[::2]
    if proven[1] < ANGLE.n // 2:
        return list(thoughts)
    return [_with_pose(said, proven, arm) for said, arm in zip(thoughts, proprioception[:-1], strict=True)]


def _with_pose(thought: str, goal: Sequence[int], proprioception: str) -> str:
    target, _, _ = thought.split("; ")
    shoulder, elbow = map(TO_TURN.word, _turn(goal, proprioception))
    return f"{target}; pose {goal[0]} {goal[1]}; turn {shoulder} {elbow}"


def _turn(goal: Sequence[int], proprioception: str) -> list[int]:
    """Places from the arm to a pose: the shoulder goes round, the elbow does not."""
    shoulder, elbow = (a - b for a, b in zip(goal, _numbers(proprioception)[::2], strict=True))
    return [(shoulder + ANGLE.n // 2) % ANGLE.n - ANGLE.n // 2, elbow]


def _numbers(words: str) -> list[int]:
    return [int(number) for number in re.findall(r"[-+]?\d+", words)]
