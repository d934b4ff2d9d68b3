"""Scripted experts of Gymnasium-Robotics' tasks, env -> action, and the state words of each task: privileged.

An expert has no memory: its action follows from the numbers in its thought and in the proprioception.
"""

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np

from envs.language import Bins, SignedLevels, StateWords

N = 32  # bins along an axis
SPACE = (Bins(1.1, 1.6, N), Bins(0.5, 1.0, N), Bins(0.3, 0.8, N))  # [m] where the gripper comes
REACH = (SignedLevels(0.5, 2 * N),) * 3  # [m] from one thing to another
GAIN = 10.0  # [1/m] of an action that goes half of a way: 1 is 5 cm
OPEN, SHUT = 1.0, -1.0  # the fingers' action
ABOVE = 0.1  # [m] over a thing that is not to be touched
NEAR = 0.02  # [m]
HELD = 0.06  # [m] fingers no farther apart than this hold a block, which is 5 cm wide
LOW = 0.03  # [m] over the middle of a thing, at most, where the gripper touches it
PUSH_FROM = 0.08  # [m] from the middle of the block
PUSH = 0.05  # [m] how far ahead a gripper that pushes is sent
HIT_FROM = 0.13  # [m] of run to where the fingers hit the puck
HIT_AT = 0.0125  # [m] before the middle of the puck
# Flat fingers, across the y axis, hit a disc that turns along them: it gets less of their speed sideways than ahead.
# The factor that sends most pucks to their target, of those from 1.5 to 3.
SLIP = 1.85
VIEWS = "The first picture is taken from the robot's right side, the second from before it."
AXES = "The axes are x, ahead of the robot, y, to its left, and z, up."
FETCH_MOVE = "The action moves the gripper along x, y and z, 5 cm at most; its last number opens (+) or closes (-) the"


def _fetch_legend(grid: str, seen: str, own: str, fingers: str) -> tuple[str, ...]:
    return (f"{VIEWS} {AXES}", grid, f"{seen} {own}", f"{FETCH_MOVE} fingers{fingers}.")


def _fetch(env: gym.Env) -> dict[str, np.ndarray]:
    """By the layout of Gymnasium-Robotics' observations. Places and ways are (3,) [m], the opening (1,) [m].

    reach: from gripper to block, or puck. way: from there, or from the gripper where there is none, to the ball.
    """
    observation = env.get_wrapper_attr("observation")
    state, ball = observation["observation"], observation["desired_goal"]
    seen = {"gripper": state[:3], "ball": ball, "way": ball - observation["achieved_goal"]}
    if state.size > 10:  # there is a block
        block = state[3:6]
        seen |= {"block": block, "puck": block, "reach": block - state[:3], "opening": state[9:11].sum(keepdims=True)}
    return seen


def _moved(way: np.ndarray, fingers: float = 0.0) -> np.ndarray:
    """(3,) [m] -> (4,) action."""
    return np.clip([*(GAIN * way), fingers], -1, 1).astype(np.float32)


FETCH_REACH = StateWords({"ball": SPACE, "way": (SignedLevels(0.5, N),) * 3}, _fetch)
FETCH_GRIPPER = StateWords({"gripper": SPACE}, _fetch)
GRID = f"A place is a bin on each axis, {N} of them: x from 1.1 to 1.6 m, y from 0.5 to 1.0 m, z from 0.3 to 0.8 m."
SHUT_FAST = ", which are fixed here"
FETCH_REACH_LEGEND = _fetch_legend(
    GRID,
    "`ball` is the place of the red ball, `way` the way there from the gripper on each axis, in bins.",
    "`gripper` is its place.",
    SHUT_FAST,
)


def fetch_reach(env: gym.Env) -> np.ndarray:
    """Straight to the target."""
    return _moved(_fetch(env)["way"])


FETCH_BLOCK = StateWords({"block": SPACE, "ball": SPACE, "reach": REACH, "way": REACH}, _fetch)
FETCH_FINGERS = StateWords({"gripper": SPACE, "opening": (Bins(0.0, 0.1, N),)}, _fetch)
WAYS = (
    "`block` and `ball` are their places, `reach` is the way from the gripper to the block and `way` that from the "
    "block to the ball on each axis, in half bins."
)
FETCH_PUSH_LEGEND = _fetch_legend(GRID, WAYS, "`gripper` is its place.", SHUT_FAST)
FETCH_PICK_LEGEND = _fetch_legend(
    GRID, WAYS, f"`gripper` is its place, `opening` that of its fingers, {N} levels up to 10 cm.", ""
)


def fetch_pick_and_place(env: gym.Env) -> np.ndarray:
    """Over the block with open fingers, down, fingers shut, and straight to the target."""
    seen = _fetch(env)
    reach = seen["reach"]
    if np.linalg.norm(reach) < NEAR:
        is_held = seen["opening"].item() < HELD
        action = _moved(seen["way"] if is_held else np.zeros(3), SHUT)
    else:
        is_over = np.linalg.norm(reach[:2]) < NEAR
        action = _moved(reach + np.array([0, 0, 0 if is_over else ABOVE]), OPEN)
    return action


def fetch_push(env: gym.Env) -> np.ndarray:
    """Up, over to the far side of the block, down, and towards the target."""
    seen = _fetch(env)
    reach, line = seen["reach"], _unit(seen["way"][:2])
    aside = _aside(reach[:2], line)
    if reach[2] > -LOW and reach[:2] @ line > NEAR and np.linalg.norm(aside) < NEAR:
        way = np.array([*(2 * aside + PUSH * line), reach[2]])
    else:
        way = _lowered(reach, reach[:2] - PUSH_FROM * line)
    return _moved(way)


PUCK = (Bins(0.8, 1.8, 2 * N), Bins(0.4, 1.1, 2 * N), Bins(0.3, 0.8, N))  # [m] where it slides
FETCH_PUCK = StateWords({"puck": PUCK, "ball": PUCK, "reach": REACH, "way": (SignedLevels(1.0, 4 * N),) * 3}, _fetch)
FETCH_BAT = StateWords({"gripper": PUCK}, _fetch)
FETCH_SLIDE_LEGEND = _fetch_legend(
    f"A place is a bin on each axis: x from 0.8 to 1.8 m, {2 * N} of them, y from 0.4 to 1.1 m, {2 * N} of them, z "
    f"from 0.3 to 0.8 m, {N} of them.",
    "`puck` and `ball` are their places, `reach` is the way from the gripper to the puck and `way` that from the puck "
    "to the ball on each axis, 7.8 mm a level.",
    "`gripper` is its place.",
    SHUT_FAST,
)


def fetch_slide(env: gym.Env) -> np.ndarray:
    """Up, over to the far side of the puck, down, and at full speed towards the target and farther aside (`SLIP`)."""
    seen = _fetch(env)
    reach, line = seen["reach"], _unit(seen["way"][:2] * [1, SLIP])
    to = reach[:2] - [HIT_AT, 0]
    aside = _aside(to, line)
    if reach[2] > -LOW and reach[0] > 0 and np.linalg.norm(aside) < NEAR:
        way = np.array([*(aside + line / np.abs(line).max() / GAIN), reach[2] / 2])
    else:
        way = _lowered(reach, to - HIT_FROM * line)
    return _moved(way)


def _unit(way: np.ndarray) -> np.ndarray:
    return way / max(np.linalg.norm(way), 1e-6)


def _aside(way: np.ndarray, line: np.ndarray) -> np.ndarray:
    """The part of a way that does not go along a line of length 1."""
    return way - (way @ line) * line


def _lowered(reach: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(3,) [m] to a start beside the thing within `reach`, which is (2,) [m] away: up, over to it, and down."""
    if np.linalg.norm(start) < NEAR:
        return np.array([*start, reach[2]])
    is_up = reach[2] < -ABOVE / 2
    return np.array([*(start if is_up else np.zeros(2)), reach[2] + ABOVE])


SPEED = 3.0  # [m/s] at most
HURRY = 4.0  # [1/s] of a way, where that is slower
PULL = 0.5  # [s/m] of the motors, which change the speed by 24 cm/s in a step of 10 ms


def _maze(env: gym.Env) -> dict[str, np.ndarray]:
    """Places and ways (2,) [m]; speed (2,) [m/s]. way: to the middle of the next cell, or to the red ball in its."""
    observation = env.get_wrapper_attr("observation")
    green, red = observation["achieved_goal"], observation["desired_goal"]
    way = _next(env.unwrapped.maze, green, red) - green
    return {"green": green, "red": red, "way": way, "speed": observation["observation"][2:]}


def _next(maze: Any, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """(2,) [m] where the shortest way through the cells leads next, found breadth-first from its end."""
    here, last = tuple(maze.cell_xy_to_rowcol(start)), tuple(maze.cell_xy_to_rowcol(goal))
    after, waiting = {last: last}, deque([last])
    while waiting and here not in after:
        row, column = cell = waiting.popleft()
        for i, j in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if (i, j) not in after and maze.maze_map[i][j] != 1:  # 1 is a wall, and walls are all around
                after[i, j] = cell
                waiting.append((i, j))
    return goal if after[here] == last else maze.cell_rowcol_to_xy(after[here])


def maze_state(half: float) -> StateWords:
    """Of a maze that goes `half` [m] to each side."""
    place = Bins(-half, half, 2 * N)
    return StateWords({"green": (place, place), "red": (place, place), "way": (SignedLevels(1.5, N),) * 2}, _maze)


# A step is 10 ms, and two pictures hardly differ: how fast it rolls is its own sense.
MAZE_BALL = StateWords({"speed": (SignedLevels(5.0, N),) * 2}, _maze)
MAZE_LEGEND = (
    f"The pictures show the maze from above. A place is a column, from the left, and a row, from below, of {2 * N} "
    "each.",
    f"`green` and `red` are the balls' places, `way` is that from the green ball to the next cell on its path, "
    f"{150 / N:.1f} cm a level, and `speed` that of the green ball, {5 / N:.2f} m/s a level; to the right (+), then up "
    "(+).",
    "The action is the force on the green ball, to the right (+), then up (+).",
)


def rolled(env: gym.Env) -> np.ndarray:
    """From cell to cell: a speed that goes with the way to the next, held by a damper."""
    seen = _maze(env)
    wanted = HURRY * seen["way"]
    wanted *= min(1.0, SPEED / max(np.linalg.norm(wanted), 1e-6))
    return np.clip(PULL * (wanted - seen["speed"]), -1, 1).astype(np.float32)
