"""Environments as others write them, each unknown to this project in its own way."""

import os
import time
from typing import ClassVar

import gymnasium as gym
import numpy as np

HERE = "tests.envs.survey.strangers"  # before an id, so that other processes find it
GOAL_AT = 3  # steps to the right
FALLS = "RuntimeError: it fell"


class _Drawn(gym.Env):
    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.observation_space, self.action_space = gym.spaces.Box(-9, 9, (2,), np.float32), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = int(self.np_random.integers(2)), 0
        return self._observed(), {}

    def _observed(self):
        return np.array([self.x, self.t], np.float32)

    def step(self, action):
        self.x, self.t = self.x + (1 if action else -1), self.t + 1
        return self._observed(), 0.0, False, False, {}

    def render(self):
        picture = np.zeros((20, 30, 3), np.uint8)
        picture[5:9, 12 + self.x : 15 + self.x] = 200
        return picture


class Told(_Drawn):
    """Its `info` tells success, in the middle of other numbers."""

    def step(self, action):
        observed, _, _, _, _ = super().step(action)
        reached = self.x >= GOAL_AT
        told = {"goal_reached": reached, "is_late": self.t > 8, "count": self.t, "mixed": "no" if self.t % 2 else 1}
        return observed, 0.0, reached, False, told


class Idle(Told):
    """Observes nothing of what happens."""

    def _observed(self):
        return np.zeros(2, np.float32)


class Mission(Told):
    """Observes what is to be done, which differs from start to start."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        spaces = {"mission": gym.spaces.Text(40), "place": gym.spaces.Box(-20, 20, (1,), np.float32)}
        self.observation_space = gym.spaces.Dict(spaces)

    def _observed(self):
        if not self.t:
            self.mission = f"go to {GOAL_AT} from {self.x}"
        return {"mission": self.mission, "place": np.array([self.x], np.float32)}


class Chance(Told):
    """Draws from the operating system, and no seed decides it."""

    def _observed(self):
        self.noise = int.from_bytes(os.urandom(4), "big")
        return np.array([self.x, self.noise % 100], np.float32)


class Unbounded(Told):
    """Its action is any number."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.action_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def step(self, action):
        return super().step(int(action[0] > 0))


class Flat(_Drawn):
    """Every step brings the same reward, and nothing is drawn of what happens."""

    def __init__(self, reward=0.0, ends=True, render_mode=None):
        super().__init__(render_mode)
        self.reward, self.ends = reward, ends

    def step(self, action):
        observed, *_ = super().step(action)
        return observed, self.reward, self.ends and self.x >= GOAL_AT, False, {}

    def render(self):
        return np.zeros((20, 30, 3), np.uint8)


class Timed(Told):
    """Has a limit of its own, which no one registered."""

    def step(self, action):
        observed, reward, reached, _, told = super().step(action)
        return observed, reward, reached, self.t == 7, told


class Large(Told):
    """Draws its picture pixel by pixel, slowly."""

    def __init__(self, render_mode=None, view_width=300, view_height=200, max_height=900):
        super().__init__(render_mode)
        self.size = view_height, view_width

    def render(self):
        time.sleep(0.02 * self.size[0] * self.size[1] / 60_000)
        return np.kron(super().render(), np.ones((10, 10, 1), np.uint8))[: self.size[0], : self.size[1]]


class Brief(_Drawn):
    """Nothing but reaching the goal is rewarded, the less the later. It ends on the other side too."""

    def step(self, action):
        observed, *_ = super().step(action)
        reached = self.x >= GOAL_AT
        return observed, reached * (1 - 0.01 * self.t), abs(self.x) >= GOAL_AT, False, {}


class Place(_Drawn):
    """Each step at the place is rewarded, and nothing ends an episode. Its second number is always the same."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.observation_space = gym.spaces.Box(-40, 40, (3,), np.float32)

    def _observed(self):
        return np.array([self.x, 0.0, -self.x], np.float32)

    def step(self, action):
        observed, *_ = super().step(action)
        return observed, float(self.x == GOAL_AT), False, False, {}


class Scored(_Drawn):
    """Every step is worth something, and `info` counts what was passed."""

    def step(self, action):
        observed, *_ = super().step(action)
        return observed, 0.1 * self.x, self.x == -GOAL_AT, False, {"score": 0}


class Falls(_Drawn):
    """Raises in its second step, with an odd seed or always. screen: none, and it cannot be drawn."""

    def __init__(self, always=False, screen=True, render_mode=None):
        super().__init__(render_mode)
        self.always, self.screen, self.is_odd = always, screen, False

    def reset(self, *, seed=None, options=None):
        self.is_odd = bool((seed or 0) % 2)
        return super().reset(seed=seed)

    def step(self, action):
        result = super().step(action)
        if self.t == 2 and (self.always or self.is_odd):
            raise RuntimeError("it fell")
        return result

    def render(self):
        if not self.screen:
            raise RuntimeError("no screen")
        return super().render()


for kind in (Told, Idle, Mission, Chance, Unbounded, Flat, Falls, Brief, Place, Large):
    gym.register(f"HandEyeTest/{kind.__name__}-v0", kind, max_episode_steps=12, disable_env_checker=True)
gym.register("HandEyeTest/Unlimited-v0", Told, disable_env_checker=True)
gym.register("HandEyeTest/Timed-v0", Timed, disable_env_checker=True)
gym.register("HandEyeTest/Scored-v0", Scored, max_episode_steps=12, disable_env_checker=True)
