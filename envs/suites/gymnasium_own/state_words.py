"""State words of Gymnasium's own tasks: the parts of their state that a picture, or two, show."""

import gymnasium as gym
import numpy as np

from envs.language import Bins, SignedLevels, StateWords
from envs.suites.gymnasium_own.experts import wrapped

ANGLE = Bins(-np.pi, np.pi, 32)  # [rad]


def _state(env: gym.Env) -> np.ndarray:
    return env.unwrapped.state


CARTPOLE = StateWords(
    {
        "cart": (Bins(-2.4, 2.4, 32), SignedLevels(2.0, 8)),
        "pole": (Bins(-0.25, 0.25, 32), SignedLevels(2.0, 8)),
    },
    lambda env: {"cart": _state(env)[:2], "pole": _state(env)[2:]},
)
MOUNTAIN_CAR = StateWords({"car": (Bins(-1.2, 0.6, 32), SignedLevels(0.07, 8))}, lambda env: {"car": _state(env)})
ACROBOT = StateWords(
    {"upper": (ANGLE, SignedLevels(4 * np.pi, 8)), "lower": (ANGLE, SignedLevels(9 * np.pi, 8))},
    lambda env: {"upper": _state(env)[[0, 2]], "lower": _state(env)[[1, 3]]},
)
PENDULUM = StateWords(
    {"pole": (ANGLE, SignedLevels(8.0, 16))}, lambda env: {"pole": (wrapped(_state(env)[0]), _state(env)[1])}
)
INVERTED_PENDULUM = StateWords(
    {"cart": (Bins(-1.0, 1.0, 32), SignedLevels(2.0, 8)), "pole": (Bins(-0.2, 0.2, 32), SignedLevels(2.0, 8))},
    lambda env: dict(
        zip(("cart", "pole"), np.transpose([env.unwrapped.data.qpos, env.unwrapped.data.qvel]), strict=True)
    ),
)


def lake(size: int) -> StateWords:
    """The player's column and row, and the holes of each row as a binary number, the first column's digit last."""

    def read(env: gym.Env) -> dict[str, np.ndarray]:
        inner = env.unwrapped
        return {"elf": np.array(divmod(inner.s, size))[::-1], "holes": (inner.desc == b"H") @ 2 ** np.arange(size)}

    tile, row = Bins(0, size, size), Bins(0, 2**size, 2**size)
    return StateWords({"elf": (tile, tile), "holes": (row,) * size}, read)


CLIFF = StateWords(
    {"elf": (Bins(0, 12, 12), Bins(0, 4, 4))}, lambda env: {"elf": np.array(divmod(env.unwrapped.s, 12))[::-1]}
)


def _taxi(env: gym.Env) -> dict[str, np.ndarray]:
    """Where the taxi is, the passenger, who may sit in it, and the house."""
    row, column, passenger, house = env.unwrapped.decode(env.unwrapped.s)
    stops = [*env.unwrapped.locs, (row, column)]
    return {
        "taxi": np.array([column, row]),
        "passenger": np.array([*stops[passenger][::-1], passenger == len(stops) - 1]),
        "house": np.array(stops[house][::-1]),
    }


STREET = Bins(0, 5, 5)
TAXI = StateWords(
    {"taxi": (STREET, STREET), "passenger": (STREET, STREET, Bins(0, 2, 2)), "house": (STREET, STREET)}, _taxi
)


def _lander(env: gym.Env) -> dict[str, np.ndarray]:
    x, y, x_dot, y_dot, angle, turning, left, right = env.get_wrapper_attr("observation")
    return {"lander": [x, y, x_dot, y_dot], "tilt": [angle, turning], "legs": [left, right]}


LUNAR_LANDER = StateWords(
    {
        "lander": (Bins(-1, 1, 32), Bins(-0.2, 1.6, 32), SignedLevels(1.5, 15), SignedLevels(1.5, 15)),
        "tilt": (SignedLevels(0.8, 8), SignedLevels(1.0, 8)),
        "legs": (Bins(0, 2, 2), Bins(0, 2, 2)),
    },
    _lander,
)
