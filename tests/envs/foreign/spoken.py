"""An environment that tells its instruction, draws a wide picture, and takes structured actions; and a wrapper."""

import gymnasium as gym
import numpy as np

from agent.collect.rollout import rollout
from envs.registry import task
from policies.action_codec import codec_for
from policies.baselines import RandomPolicy

ID = "id: HandEyeTest/Spoken-v0\nimports: [spoken]\n"
WON = "success: {of: is_success, at_least: 1}\n"
TEXT = "instruction: go\n"
COLOURS = ("red", "green", "blue")


class Spoken(gym.Env):
    """Reach a place whose number the mission says; each argument makes one part another.

    space: of its actions; `push` of a Dict, or the first number of an array, moves. draws: place -> picture.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, render_mode=None, space=None, draws=None, told=lambda done: {"is_success": done}):
        self.render_mode, self.draws, self.told = render_mode, draws or picture, told
        self.action_space = space or gym.spaces.Dict(
            {"push": gym.spaces.Box(-1, 1, (1,), np.float64), "stop": gym.spaces.Discrete(2)}
        )
        self.observation_space = gym.spaces.Dict(
            {"mission": gym.spaces.Text(40), "x": gym.spaces.Box(0, 9, (1,), np.float64)}
        )

    @property
    def language_instruction(self):
        return f"go to {COLOURS[self.goal]}"

    def _seen(self):
        return {"mission": f"reach the {COLOURS[self.goal]} place", "x": np.array([self.x])}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.goal, self.x, self.t = int(self.np_random.integers(3)), float(self.np_random.uniform(2, 4)), 0
        return self._seen(), {"mission": f"reset to {COLOURS[self.goal]}"}

    def step(self, action):
        self.t += 1
        push = action["push"] if isinstance(action, dict) else np.ravel(action)
        self.x = float(np.clip(self.x + push[0] / 10, 0, 9))
        done = self.t == 6
        return self._seen(), float(done), done, False, self.told(done)

    def render(self):
        return self.draws(self.x)


def picture(x):
    """(20, 40, 3), a white bar at x on grey."""
    drawn = np.full((20, 40, 3), 90, np.uint8)
    drawn[:, int(4 * x) : int(4 * x) + 2] = 255 - int(100 * (x % 1))
    return drawn


class Darker(gym.Wrapper):
    def __init__(self, env, by=1):
        super().__init__(env)
        self.by = by

    def render(self):
        return self.env.render() // self.by


def no_environment(env):
    return "no environment"


gym.register("HandEyeTest/Spoken-v0", entry_point=Spoken, max_episode_steps=9, disable_env_checker=True)


def played(path, starts=((0, 0), (1, 0), (2, 0), (3, 0))):
    """Episodes of random play of the task in a file."""
    chosen = task(path)
    return rollout(chosen, RandomPolicy(codec_for(chosen).action.space), list(starts))
