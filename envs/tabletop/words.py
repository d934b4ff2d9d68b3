"""Places on the table as words: a square grid of bins, column (left to right) then row (near to far)."""

import numpy as np

BINS = 32
HALF_EXTENT = 0.24  # [m] the table seen by the camera reaches from -HALF_EXTENT to HALF_EXTENT on both axes
BIN_WIDTH = 2 * HALF_EXTENT / BINS  # [m]


def to_bins(place: np.ndarray) -> tuple[int, int]:
    """(2,) position [m] -> column and row, those of the border for a place beyond it."""
    column, row = np.clip((np.asarray(place) + HALF_EXTENT) // BIN_WIDTH, 0, BINS - 1).astype(int)
    return int(column), int(row)


def from_bins(column: int, row: int) -> np.ndarray:
    """The centre of a bin, (2,) [m]."""
    return (np.array([column, row]) + 0.5) * BIN_WIDTH - HALF_EXTENT


def say(name: str, place: np.ndarray) -> str:
    """`red cube`, (2,) [m] -> `red cube 20 9`."""
    column, row = to_bins(place)
    return f"{name} {column} {row}"
