"""Gymnasium's Reacher in words: the arm's pose with the tip on the target, the turn to that pose, springs that turn.

A picture shows where the target is, and so the pose; the proprioception says where the arm is. The turn and the action
follow from these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from envs.language import Bins, SignedLevels, StateLanguage, StateWords
from envs.suites.gymnasium_own.experts import wrapped

STIFFNESS, DAMPING = 2.0, 0.1  # of the springs, in units of the motors, a radian and a radian a second
# With 32 bins, springs that act on the words alone succeed in 83 % of episodes; with 48, in 97 %.
ANGLE = Bins(-np.pi, np.pi, 48)  # [rad]
BOARD = Bins(-0.22, 0.22, 32)  # [m]
TURNING = SignedLevels(20.0, 20)  # [rad/s]
TO_TURN = SignedLevels(20, 20)  # bins of ANGLE


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


ARM = StateWords({"arm": (ANGLE, TURNING) * 2}, _arm)  # what joints know of themselves


def _seen(env: gym.Env) -> dict[str, Sequence[float]]:
    angles = [wrapped(angle) for angle in pose(env)]
    turn = _turn([ANGLE.level(angle) for angle in angles], ARM.of(env))
    return {"target": env.unwrapped.data.body("target").xpos[:2], "pose": angles, "turn": turn}


SEEN = StateWords({"target": (BOARD, BOARD), "pose": (ANGLE, ANGLE), "turn": (TO_TURN, TO_TURN)}, _seen)


LEGEND = (
    "The pictures show a board from above: its upper left, upper right, lower left and lower right quarter.",
    f"An angle is one of {ANGLE.n} bins of a full turn, counted counterclockwise: {ANGLE.n // 2} is 0, which for the "
    "shoulder is to the right, and for the elbow straight on from the upper arm.",
    f"`arm` is the angle of the shoulder and its speed, then of the elbow and its speed, {TURNING.high / TURNING.n:g} "
    "rad/s a level, counterclockwise (+).",
    f"`target` is the red dot's column, from the left, and row, from below, of {BOARD.n} each. `pose` is the angle of "
    "shoulder and elbow with the tip on the dot, the elbow bent to the left. `turn` is how many bins shoulder and "
    "elbow have to turn from `arm` to `pose`.",
    "The action is the torque of the shoulder, then of the elbow, counterclockwise (+).",
)


@dataclass(frozen=True)
class Thought:
    """`target 9 9; pose 28 30; turn +4 +6`.

    target: x and y, bins of BOARD. pose: shoulder and elbow with the tip on the target, bins of ANGLE. turn: of
    shoulder and elbow from the arm to the pose, in bins of ANGLE.
    """

    target: tuple[int, int]
    pose: tuple[int, int]
    turn: tuple[int, int]


class ReacherLanguage(StateLanguage):
    """The turn follows from the pose and the arm; damped springs on the turn are the action."""

    def __init__(self) -> None:
        super().__init__("bring the tip of the arm to the red dot", SEEN, ARM, LEGEND)

    def parse(self, thought: str) -> Thought:
        return Thought(**SEEN.parse(thought))

    def say(self, parsed: Thought) -> str:
        return SEEN.say(vars(parsed))

    def derive(self, thought: str, proprioception: str) -> str:
        parsed = self.parse(thought)
        return self._heading_to(parsed.pose, parsed, proprioception)

    def called_for(self, thought: str, proprioception: str) -> np.ndarray:
        """(2,): the torques of a damped spring at each joint."""
        turn, speed = np.array(self.parse(thought).turn), np.array(_arm_levels(proprioception)[1::2])
        force = STIFFNESS * turn * (ANGLE.high - ANGLE.low) / ANGLE.n - DAMPING * speed * TURNING.high / TURNING.n
        return np.clip(force, -1, 1).astype(np.float32)

    def relabel(
        self,
        thoughts: Sequence[str],
        proprioception: Sequence[str],
        rewards: Sequence[float],
        actions: Sequence[np.ndarray],
    ) -> list[str]:
        """The pose is the arm's own where its tip was nearest to the target. Unchanged where the elbow is bent to the
        right there: thoughts say poses that are bent to the left."""
        # [m]: a reward is minus the distance and the square of the action
        distances = [-reward - np.square(action).sum() for reward, action in zip(rewards, actions, strict=True)]
        proven = _arm_levels(proprioception[int(np.argmin(distances)) + 1])[::2]
        if proven[1] < ANGLE.n // 2:
            return list(thoughts)
        each = zip(thoughts, proprioception[:-1], strict=True)
        return [self._heading_to(proven, self.parse(thought), arm) for thought, arm in each]

    def _heading_to(self, goal: Sequence[int], thought: Thought, proprioception: str) -> str:
        """The thought with another pose, (2,) bins of ANGLE, and the turn that follows."""
        shoulder, elbow = map(TO_TURN.level, _turn(goal, proprioception))
        return self.say(Thought(thought.target, tuple(goal), (shoulder, elbow)))


LANGUAGE = ReacherLanguage()


def expert(env: gym.Env) -> np.ndarray:
    """The action that the true thought calls for."""
    return LANGUAGE.called_for(SEEN.of(env), ARM.of(env))


def _turn(goal: Sequence[int], proprioception: str) -> list[int]:
    """Bins of ANGLE from the arm to a pose: the shoulder goes round, the elbow does not."""
    shoulder, elbow = (a - b for a, b in zip(goal, _arm_levels(proprioception)[::2], strict=True))
    return [(shoulder + ANGLE.n // 2) % ANGLE.n - ANGLE.n // 2, elbow]


def _arm_levels(proprioception: str) -> tuple[int, ...]:
    """Angle and speed of the shoulder, then of the elbow."""
    return ARM.parse(proprioception)["arm"]
