"""A tiny environment for runs that are repeated hundreds of times: guess the side that a coloured picture asks for."""

from typing import Any

import gymnasium as gym
import numpy as np

SIDES = 3
STEPS = 3  # of an episode, at most
SIZE = 16  # [px]


class Guessing(gym.Env[np.ndarray, int]):
    """Succeeds at the step at which the action is the side that the seed and the step ask for.

    step_s: [s] that a step takes, so that a worker can be killed in the middle of one.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, render_mode: str | None = None, step_s: float = 0.0):
        self.render_mode, self._step_s = render_mode, step_s
        self.action_space = gym.spaces.Discrete(SIDES)
        self.observation_space = gym.spaces.Box(0.0, np.inf, (1,), np.float32)
        self.start, self.count = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.start, self.count = int(self.np_random.integers(1000)), 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self._step_s:
            import time

            time.sleep(self._step_s)
        success = int(action) == (self.start + self.count) % SIDES
        self.count += 1
        return np.array([self.count], np.float32), float(success), success, False, {"success": success}

    def render(self) -> np.ndarray:
        return np.full((SIZE, SIZE, 3), (self.start % 251, 80 * self.count % 251, self.start % SIDES * 100), np.uint8)


gym.register("HandEyeTest/Guessing-v0", Guessing, max_episode_steps=STEPS, disable_env_checker=True)
