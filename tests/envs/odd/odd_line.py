"""A dot on a line, and how each of its parts may be odd."""

import os
import signal

import gymnasium as gym
import numpy as np


class OddLine(gym.Env):
    """A dot moves on ten places; the last one ends the episode. Each argument makes one part odd.

    space: of its actions. reward, flag, told: what stands for the reward, `terminated` and `info`; of a step that is at
    place `x`. picture: made of its own, (64, 64, 3) uint8. raises: seed, or None for all -> what is done in its second
    step. draws: where its start comes from. noise: whether its steps move by numpy's global generator.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (gymnasium's own form)

    def __init__(
        self,
        render_mode=None,
        space=None,
        reward=float,
        flag=bool,
        told=lambda x: {"success": x == 9},
        picture=lambda p: p,
        raises=lambda seed: None,
        in_reset=lambda seed: None,
        draws="seed",
        noise=False,
        observed=lambda x: np.array([x], np.float32),
    ):
        self.render_mode, self.noise = render_mode, noise
        self.parts = (reward, flag, told, picture, raises, in_reset)
        self.draws, self.observed = draws, observed
        self.observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
        self.action_space = space or gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        if self.draws != "never":
            super().reset(seed=seed)
        self.seed, self.t = seed if self.draws != "never" else 0, 0
        place = {"seed": lambda: self.np_random.integers(3, 7), "global": np.random.random, "never": lambda: 4}
        self.x = place[self.draws]()
        self.parts[5](seed)
        return self.observed(self.x), {}

    def step(self, action):
        self.t += 1
        if self.t == 2:
            self.parts[4](self.seed)
        self.x = min(self.x + 1 + (np.random.random() if self.noise else 0), 9)  # noqa: NPY002 (what is odd)
        reward, flag, told = self.parts[:3]
        done = self.x == 9
        return self.observed(self.x), reward(done), flag(done), False, told(self.x)

    def render(self):
        picture = np.full((64, 64, 3), 255, np.uint8)
        picture[28:36, 6 * int(self.x) :][:, :6] = (200, 0, 0)
        return self.parts[3](picture)


class Older(OddLine):
    """The interface of gym before 0.26."""

    def reset(self, seed=None, options=None):
        return super().reset(seed=seed)[0]


class OlderStep(OddLine):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


class Seedless(OddLine):
    def reset(self):
        return super().reset()


class NoMode(OddLine):
    def __init__(self):
        super().__init__("rgb_array")


class NoAssets(OddLine):
    def __init__(self, render_mode=None):
        raise FileNotFoundError("scene.xml")


def ends(exception):
    """Raises in the step it is called in."""

    def end(seed):
        raise exception

    return end


def dies(seed):
    os.kill(os.getpid(), signal.SIGKILL)


for kind in (OddLine, Older, OlderStep, Seedless, NoMode, NoAssets):
    gym.register(f"HandEyeTest/{kind.__name__}-v0", kind, max_episode_steps=12, disable_env_checker=True)
gym.register("HandEyeTest/Endless-v0", OddLine, disable_env_checker=True)
