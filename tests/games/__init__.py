"""Three small games that nothing in the code knows of, as a user would bring them: `tests.games:Catch-v0`, `Dock-v0`,
`Gate-v0`.

All draw themselves with OpenCV, observe a state vector, tell nothing in `info`, and reward the last step alone. The
folder that holds `tests` must be on PYTHONPATH.
"""

import cv2
import gymnasium as gym
import numpy as np

SIDE = 96  # [px] of a picture
# RGB
DARK, WHITE, RED, GREEN, BLUE = (24, 28, 36), (240, 240, 240), (230, 70, 60), (70, 200, 90), (70, 130, 240)


class Drawn(gym.Env):
    """A game on the unit square, whose pictures show all that its state is, but for speeds."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def render(self) -> np.ndarray:
        """(SIDE, SIDE, 3) uint8."""
        canvas = np.full((SIDE, SIDE, 3), DARK, np.uint8)
        self.draw(canvas)
        return canvas

    def draw(self, canvas: np.ndarray) -> None:
        raise NotImplementedError


def _pixel(*place: float) -> tuple[int, ...]:
    """A place in [0, 1], from the upper left, in pixels."""
    return tuple(int(np.rint(x * (SIDE - 1))) for x in place)


class Catch(Drawn):
    """A ball falls straight down; a paddle at the bottom is moved left or right, or stays.

    observation: (3,) float32, the ball's x and y and the paddle's x, in [0, 1], y from the top. The episode ends after
    FALL steps, when the ball is at the bottom; the last reward is 1 where the paddle is under it, and 0 elsewhere.
    """

    FALL = 18  # steps
    STEP = 0.06  # that the paddle moves
    REACH = 0.08  # half of the paddle

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode)
        self.action_space = gym.spaces.Discrete(3)  # left, stay, right
        self.observation_space = gym.spaces.Box(0.0, 1.0, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.ball, self.paddle = (float(x) for x in self.np_random.uniform(0.1, 0.9, 2))
        self.fallen = 0  # steps
        return self._observation(), {}

    def step(self, action):
        self.paddle = float(np.clip(self.paddle + self.STEP * (int(action) - 1), self.REACH, 1 - self.REACH))
        self.fallen += 1
        ended = self.fallen == self.FALL
        caught = ended and abs(self.paddle - self.ball) <= self.REACH
        return self._observation(), float(caught), ended, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.ball, self.fallen / self.FALL, self.paddle], np.float32)

    def draw(self, canvas: np.ndarray) -> None:
        height = 0.05 + 0.83 * self.fallen / self.FALL
        cv2.circle(canvas, _pixel(self.ball, height), 5, RED, -1)
        low, high = _pixel(self.paddle - self.REACH, 0.92), _pixel(self.paddle + self.REACH, 0.97)
        cv2.rectangle(canvas, low, high, WHITE, -1)


class Dock(Drawn):
    """A point with momentum is driven to a ring, and must be slow there.

    observation: (6,) float32, place and velocity [per step] of the point and place of the ring, x and y, y from the
    top. action: (2,) thrust in [-1, 1]. The episode ends where the point is docked, with reward 1, or after LIMIT
    steps, with minus its distance from the ring; every other reward is 0.
    """

    LIMIT = 20  # steps
    DAMPING, THRUST = 0.7, 0.03  # of the velocity in a step; velocity that full thrust adds in a step
    NEAR, SLOW = 0.1, 0.03  # of the ring; velocity

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (6,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.ring = self.np_random.uniform(0.1, 0.9, 2), self.np_random.uniform(0.15, 0.85, 2)
        self.velocity, self.steps = np.zeros(2), 0
        return self._observation(), {}

    def step(self, action):
        self.velocity = self.DAMPING * self.velocity + self.THRUST * np.asarray(action, np.float64)
        moved = self.place + self.velocity
        self.place = np.clip(moved, 0.0, 1.0)
        self.velocity = np.where(moved == self.place, self.velocity, 0.0)
        self.steps += 1
        away = float(np.linalg.norm(self.place - self.ring))
        docked = away <= self.NEAR and float(np.linalg.norm(self.velocity)) <= self.SLOW
        ended = docked or self.steps == self.LIMIT
        return self._observation(), (1.0 if docked else -away) if ended else 0.0, ended, False, {}

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.place, self.velocity, self.ring]).astype(np.float32)

    def draw(self, canvas: np.ndarray) -> None:
        cv2.circle(canvas, _pixel(*self.ring), round(self.NEAR * SIDE), GREEN, 2)
        cv2.circle(canvas, _pixel(*self.place), 4, BLUE, -1)


class Gate(Drawn):
    """A point flies to the right at one speed, and is steered up and down into a gate that moves in a wall.

    observation: (4,) float32, the point's x and y, the y of the gate's middle, and the y that it moves by in a step, y
    from the top. action: (1,) vertical speed in [-1, 1]. The gate turns round at the border. The episode ends after
    FLIGHT steps, at the wall, with reward 1 in the gate, and else with minus the distance from it; every other reward
    is 0.
    """

    FLIGHT = 14  # steps
    SPEED = 0.08  # of the point at most, in a step
    REACH = 0.06  # half of the gate
    MOST = 0.04  # that the gate moves in a step

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.height, self.gate = (float(x) for x in self.np_random.uniform(0.1, 0.9, 2))
        self.moves, self.flown = float(self.np_random.uniform(-self.MOST, self.MOST)), 0  # flown: steps
        return self._observation(), {}

    def step(self, action):
        self.height = float(np.clip(self.height + self.SPEED * float(np.asarray(action)[0]), 0.0, 1.0))
        if not self.REACH <= self.gate + self.moves <= 1 - self.REACH:
            self.moves = -self.moves
        self.gate, self.flown = self.gate + self.moves, self.flown + 1
        ended, away = self.flown == self.FLIGHT, abs(self.height - self.gate)
        reward = (1.0 if away <= self.REACH else -away) if ended else 0.0
        return self._observation(), reward, ended, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.flown / self.FLIGHT, self.height, self.gate, self.moves], np.float32)

    def draw(self, canvas: np.ndarray) -> None:
        for top, bottom in ((0.0, self.gate - self.REACH), (self.gate + self.REACH, 1.0)):
            cv2.rectangle(canvas, _pixel(0.9, top), _pixel(0.95, bottom), WHITE, -1)
        cv2.circle(canvas, _pixel(0.05 + 0.85 * self.flown / self.FLIGHT, self.height), 4, BLUE, -1)


for kind, limit in ((Catch, Catch.FALL), (Dock, Dock.LIMIT), (Gate, Gate.FLIGHT)):
    gym.register(f"{kind.__name__}-v0", entry_point=f"{__name__}:{kind.__name__}", max_episode_steps=limit)
