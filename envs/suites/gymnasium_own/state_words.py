"""State words of Gymnasium's own tasks: the parts of their state that a picture, or two, show."""

import gymnasium as gym
import numpy as np

from envs.language import Bins, SignedLevels, StateWords
from envs.suites.gymnasium_own.experts import wrapped

ANGLE = Bins(-np.pi, np.pi, 32)  # [rad]


def _state(env: gym.Env) -> np.ndarray:
    return env.unwrapped.state


# after each: what its numbers mean
CARTPOLE = StateWords(
    {
        "cart": (Bins(-2.4, 2.4, 32), SignedLevels(2.0, 8)),
        "pole": (Bins(-0.25, 0.25, 32), SignedLevels(2.0, 8)),
    },
    lambda env: {"cart": _state(env)[:2], "pole": _state(env)[2:]},
)
CARTPOLE_LEGEND = (
    "`cart` is its place, 0 to 31 from the left end of the track to the right one, and its speed, 0.25 units/s a "
    "level, to the right (+).",
    "`pole` is its lean, 0 to 31 from 14 degrees to the left to 14 degrees to the right, where 16 is upright, and how "
    "fast it turns, 0.25 rad/s a level, to the right (+).",
    "The action pushes the cart.",
)
MOUNTAIN_CAR = StateWords({"car": (Bins(-1.2, 0.6, 32), SignedLevels(0.07, 8))}, lambda env: {"car": _state(env)})
MOUNTAIN_CAR_LEGEND = (
    "`car` is its place, 0 to 31 from the left end to the right one (the valley is at 12, the flag at 30), and its "
    "speed, 8 levels at most, to the right (+).",
    "The action accelerates the car, which is too weak to climb without a swing.",
)
ACROBOT = StateWords(
    {"upper": (ANGLE, SignedLevels(4 * np.pi, 8)), "lower": (ANGLE, SignedLevels(9 * np.pi, 8))},
    lambda env: {"upper": _state(env)[[0, 2]], "lower": _state(env)[[1, 3]]},
)
ACROBOT_LEGEND = (
    "An angle is one of 32 bins of a full turn, counted counterclockwise. `upper` is the angle of the upper link, of "
    "which 16 hangs straight down, and its speed, 1.6 rad/s a level. `lower` is the angle of the lower link, of which "
    "16 goes straight on from the upper one, and its speed, 3.5 rad/s a level; both counterclockwise (+).",
    "The action is the torque between the links.",
)
PENDULUM = StateWords(
    {"pole": (ANGLE, SignedLevels(8.0, 16))}, lambda env: {"pole": (wrapped(_state(env)[0]), _state(env)[1])}
)
PENDULUM_LEGEND = (
    "`pole` is its angle, one of 32 bins of a full turn, counted counterclockwise, of which 16 is upright, and its "
    "speed, 0.5 rad/s a level, counterclockwise (+).",
    "The action is the torque, from 2 N m clockwise (-) to 2 N m counterclockwise (+).",
)
INVERTED_PENDULUM = StateWords(
    {"cart": (Bins(-1.0, 1.0, 32), SignedLevels(2.0, 8)), "pole": (Bins(-0.2, 0.2, 32), SignedLevels(2.0, 8))},
    lambda env: dict(
        zip(("cart", "pole"), np.transpose([env.unwrapped.data.qpos, env.unwrapped.data.qvel]), strict=True)
    ),
)
INVERTED_PENDULUM_LEGEND = (
    "`cart` is its place, 0 to 31 from the left end of the rail to the right one, and its speed, 0.25 m/s a level, to "
    "the right (+).",
    "`pole` is its lean, 0 to 31 from 0.2 rad to the left to 0.2 rad to the right, where 16 is upright, and how fast "
    "it turns, 0.25 rad/s a level, to the right (+).",
    "The action is the force on the cart, to the right (+).",
)


def lake(size: int) -> StateWords:
    """The player's column and row, and the holes of each row as a binary number, the first column's digit last."""

    def read(env: gym.Env) -> dict[str, np.ndarray]:
        inner = env.unwrapped
        return {"elf": np.array(divmod(inner.s, size))[::-1], "holes": (inner.desc == b"H") @ 2 ** np.arange(size)}

    tile, row = Bins(0, size, size), Bins(0, 2**size, 2**size)
    return StateWords({"elf": (tile, tile), "holes": (row,) * size}, read)


LAKE_LEGEND = (
    "`elf` is its column, from the left, and its row, from above, both from 0.",
    "`holes` has a number for each row, from above: the sum of 1 for a hole in its first column from the left, 2 in "
    "the second, 4 in the third, 8 in the fourth.",
    "The action is a step to the next tile; one into a hole ends the walk.",
)
CLIFF = StateWords(
    {"elf": (Bins(0, 12, 12), Bins(0, 4, 4))}, lambda env: {"elf": np.array(divmod(env.unwrapped.s, 12))[::-1]}
)
CLIFF_LEGEND = (
    "`elf` is its column, 0 to 11 from the left, and its row, 0 to 3 from above. The flag is at 11 3; the cliff fills "
    "row 3 from column 1 to 10.",
    "The action is a step to the next tile.",
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
TAXI_LEGEND = (
    "Two pictures, drawn one after the other. A place is a column, from the left, and a row, from above, both from 0.",
    "`taxi` and `house` are their places; `passenger` is that of the passenger, and 1 in the taxi or 0 outside.",
    "The action drives to the next place, unless a wall is between, or picks the passenger up, or drops them off.",
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
LUNAR_LANDER_LEGEND = (
    "`lander` is its column, 0 to 31 from the left (16 is the middle between the flags), its height, 0 to 31 from "
    "below (3 is the ground), and its speed to the right (+) and up (+), 0.1 a level.",
    "`tilt` is its angle, 0.1 rad a level, and how fast it turns, 0.125 rad/s a level, both counterclockwise (+). "
    "`legs` are 1 for the left and the right leg where it touches the ground, else 0.",
    "The action fires an engine: `main` pushes up, `left` to the left while it turns the lander counterclockwise, "
    "`right` to the right while it turns it clockwise.",
)
