"""A scripted expert of LIBERO's tasks of one thing that is put into or onto another, and their state words: privileged.

The expert has no memory: its action follows from the numbers in its thought and in the proprioception. Its hand keeps
its orientation.
"""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from envs.language import Bins, SignedLevels

N = 32  # bins along an axis
REACH = (SignedLevels(0.5, 2 * N),) * 3  # [m] from one thing to another
OPENING = Bins(0.0, 0.08, 16)  # [m] between the fingers
SPEED = SignedLevels(0.2, 4)  # [m/s] at which the fingers open
HAND = "gripper0_grip_site"
GAIN = 10.0  # [1/m] of an action that goes half of a way: 1 is 5 cm
OPEN, SHUT = -1.0, 1.0  # the fingers' action
NEAR = 0.015  # [m]
WIDE = 0.07  # [m] between open fingers
STILL = 0.02  # [m/s] of fingers, at most, that have shut


@dataclass(frozen=True)
class Carried:
    """A thing that is carried to a target, both MuJoCo bodies. grasp: (3,) [m] where it is grasped, from its middle.
    above: [m] from there the hand comes down. lift: [m] of the thing above the target on its way. drop: [m] above the
    target where it is let go."""

    thing: str
    target: str
    grasp: tuple[float, float, float] = (0.0, 0.0, 0.0)
    above: float = 0.12
    lift: float = 0.2
    drop: float = 0.2

    def numbers(self, env: gym.Env) -> dict[str, np.ndarray]:
        """Places and ways (3,) [m]; fingers (2,): opening [m] and its speed [m/s].

        reach: from the hand to where the thing is grasped. way: from the thing to the target.
        """
        data = env.unwrapped.data
        hand, thing, target = data.site(HAND).xpos, data.body(self.thing).xpos, data.body(self.target).xpos
        left, right = (data.joint(f"gripper0_finger_joint{i}") for i in (1, 2))
        return {
            "hand": hand,
            "thing": thing,
            "target": target,
            "reach": thing + self.grasp - hand,
            "way": target - thing,
            "fingers": np.concatenate([left.qpos - right.qpos, left.qvel - right.qvel]),
        }

    def act(self, env: gym.Env) -> np.ndarray:
        """(7,): over the thing with open fingers, down, fingers shut, up, over the target, down, and fingers open."""
        seen = self.numbers(env)
        reach, way, (opening, speed) = seen["reach"], seen["way"], seen["fingers"]
        is_near = np.linalg.norm(reach) < 2 * NEAR
        if np.linalg.norm(way[:2]) < 2 * NEAR:
            down = way[2] + self.drop
            is_held = is_near and down < -NEAR and opening < WIDE
            return _moved(np.array([*way[:2], down]), SHUT) if is_held else _moved(np.zeros(3), OPEN)
        if is_near and opening < WIDE and abs(speed) < STILL:
            up = way[2] + self.lift
            return _moved(np.array([*(way[:2] if up < 2 * NEAR else np.zeros(2)), up]), SHUT)
        if np.linalg.norm(reach) < NEAR:
            return _moved(reach, SHUT)
        is_over = np.linalg.norm(reach[:2]) < NEAR
        return _moved(reach + np.array([0, 0, 0 if is_over else self.above]), OPEN)


def _moved(way: np.ndarray, fingers: float) -> np.ndarray:
    """(3,) [m] -> (7,) action."""
    return np.clip([*(GAIN * way), 0, 0, 0, fingers], -1, 1).astype(np.float32)
