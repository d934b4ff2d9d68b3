"""Places on the table as words: a square grid of bins, column (left to right) then row (near to far).

`red cube 20 9` is a place, `+8 -2` the way to one: eight bins to the right, two nearer.
"""

from collections.abc import Mapping

import numpy as np

BINS = 32
DIRECTIONS = {"right": (1.0, 0.0), "left": (-1.0, 0.0), "far": (0.0, 1.0), "near": (0.0, -1.0)}
Bin = tuple[int, int]  # column and row of a place
HALF_EXTENT = 0.24  # [m] the table seen by the camera reaches from -HALF_EXTENT to HALF_EXTENT on both axes
BIN_WIDTH = 2 * HALF_EXTENT / BINS  # [m]


def to_bins(place: np.ndarray) -> Bin:
    """(2,) position [m] -> column and row, those of the border for a place beyond it."""
    column, row = np.clip((np.asarray(place) + HALF_EXTENT) // BIN_WIDTH, 0, BINS - 1).astype(int)
    return int(column), int(row)


def from_the_left(places: Mapping[str, np.ndarray]) -> list[str]:
    """name -> (2,) [m]: the names in the order of a caption."""
    return sorted(places, key=lambda name: float(places[name][0]))


def from_bins(column: int, row: int) -> np.ndarray:
    """The centre of a bin, (2,) [m]."""
    return (np.array([column, row]) + 0.5) * BIN_WIDTH - HALF_EXTENT


def say(name: str, place: np.ndarray) -> str:
    """`red cube`, (2,) [m] -> `red cube 20 9`."""
    return say_bin(name, to_bins(place))


def say_bin(name: str, place: Bin) -> str:
    """`red cube`, (20, 9) -> `red cube 20 9`."""
    return f"{name} {place[0]} {place[1]}"


def binned(place: np.ndarray) -> np.ndarray:
    """(2,) [m] -> the centre of its bin, (2,) [m]: what words can tell of it."""
    return from_bins(*to_bins(place))


def say_way(start: np.ndarray, end: np.ndarray) -> str:
    """(2,) [m] and (2,) [m] -> how many bins from one to the other, `+8 -2`."""
    columns, rows = np.subtract(to_bins(end), to_bins(start))
    return f"{columns:+d} {rows:+d}"


def direction(start: np.ndarray, end: np.ndarray) -> str:
    """Which way `end` lies from `start`, both (2,) [m], along the axis on which they are farther apart."""
    offset = np.asarray(end) - start
    return max(DIRECTIONS, key=lambda word: float(offset @ np.array(DIRECTIONS[word])))
