"""Statistics of a feature as LeRobot's: min, max, mean, std, count and five quantiles, exact and in bounded memory.

Pixels are counted: 256 numbers for each channel tell every statistic, of an episode and, added, of the dataset.
"""

from collections.abc import Iterable

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Stats = dict[str, list]


def of_numbers(values: np.ndarray) -> Stats:
    """Of (T, d) numbers or truth values: a list of d for each statistic. Quantiles interpolate linearly."""
    values = values.astype(np.float64)
    stats = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
    }
    stats |= dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True))
    return {name: value.tolist() for name, value in stats.items()}


def counted(frames: Iterable[np.ndarray]) -> np.ndarray:
    """(3, 256) int64: how often each channel has each value in frames (H, W, 3) uint8."""
    counts = np.zeros((3, 256), np.int64)
    for frame in frames:
        for channel in range(3):
            counts[channel] += np.bincount(frame[..., channel].reshape(-1), minlength=256)
    return counts


def of_pixels(counts: np.ndarray, n_frames: int) -> Stats:
    """Of what `counted` returns: lists (3, 1, 1) for each statistic, of values divided by 255. Quantiles are values
    that occur."""
    values, total = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / total
    below = counts.cumsum(1)
    stats = {
        "min": values[(counts > 0).argmax(1)],
        "max": values[255 - (counts[:, ::-1] > 0).argmax(1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0)),
    }
    for name, q in QUANTILES.items():
        stats[name] = values[[np.searchsorted(below[c], q * (total[c] - 1), side="right") for c in range(3)]]
    return {name: value.reshape(3, 1, 1).tolist() for name, value in stats.items()} | {"count": [n_frames]}
