"""A ball in a yard of eight by eight places, told in every way that state words can read."""

import gymnasium as gym
import numpy as np

SIDE = 8
MOVES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])


class Yard(gym.Env):
    """The ball moves by its speed, which an action changes. It is done in the last column.

    quiet: `info` is empty at a reset. dull: it never moves.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, quiet=False, dull=False, continuous=False, render_mode=None):
        self.quiet, self.dull, self.render_mode = quiet, dull, render_mode
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32) if continuous else gym.spaces.Discrete(4)
        self.observation_space = gym.spaces.Dict(
            {
                "ball": gym.spaces.MultiDiscrete([SIDE, SIDE]),
                "rest": gym.spaces.Tuple((gym.spaces.Box(-9, 9, (1,), np.float32), gym.spaces.Discrete(3))),
            }
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.ball, self.speed = self.np_random.integers(0, 4, 2), self.np_random.normal(0, 0.5)
        self.t, self.goal = 0, {"where": [SIDE - 1, 2.5]}
        return self.observed(), {} if self.quiet else self.told()

    def step(self, action):
        self.t += 1
        if not self.dull:
            move = MOVES[action] if np.ndim(action) == 0 else np.rint(action).astype(int)
            self.ball = np.clip(self.ball + move, 0, SIDE - 1)
            self.speed = float(np.clip(self.speed + self.np_random.normal(0, 0.3), -2, 2))
        done = bool(self.ball[0] == SIDE - 1)
        return self.observed(), float(done), done, False, self.told()

    def distance(self):
        return SIDE - 1 - self.ball[0]

    def observed(self):
        return {"ball": self.ball.copy(), "rest": (np.array([self.speed], np.float32), self.t % 3)}

    def told(self):
        return {"ball_x": self.ball[0], "score": {"marks": [0.5 * (self.t % 2), self.t]}, "name": "yard"}

    def render(self):
        picture = np.full((64, 64, 3), 255, np.uint8)
        column, row = 8 * self.ball
        picture[row : row + 8, column : column + 8] = (200, 0, 0)
        return picture


class Lane(Yard):
    """The same with a plain observation, as Stable-Baselines3 takes it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.observation_space = gym.spaces.Box(-9, 9, (3,), np.float32)

    def observed(self):
        return np.array([*self.ball, self.speed], np.float32)


gym.register("HandEyeTest/Yard-v0", entry_point=Yard, max_episode_steps=30)
gym.register("HandEyeTest/Lane-v0", entry_point=Lane, max_episode_steps=30)
