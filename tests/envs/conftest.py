"""A toy environment that counts its steps, for tests of what wraps any environment; tasks from files."""

import gymnasium as gym
import numpy as np
import pytest


class Counting(gym.Env):
    """Rewards 1 a step, tells `info` what it is given, and renders its count."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, told=None, blind=False, render_mode=None):
        self.told, self.blind, self.render_mode = told or {}, blind, render_mode
        self.action_space, self.observation_space = gym.spaces.Discrete(3, start=1), gym.spaces.Discrete(99)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return 0, {}

    def step(self, action):
        self.count += 1
        return self.count, 1.0, False, False, {key: values[self.count - 1] for key, values in self.told.items()}

    def render(self):
        return None if self.blind else np.full((30, 20, 3), self.count, np.uint8)


gym.register("HandEyeTest/Counting-v0", entry_point=Counting, max_episode_steps=4, disable_env_checker=True)


@pytest.fixture
def declare(tmp_path):
    """Writes a task's file, and gives its path."""

    def make(text):
        path = tmp_path / f"task{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(text)
        return str(path)

    return make
