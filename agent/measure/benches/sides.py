"""A row of a bench: two sides, measured by turns."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def bench_row(name: str, unit: str, ours: float, reference: float, what: str) -> dict[str, Any]:
    """ratio: ours / reference."""
    return {"name": name, "unit": unit, "ours": ours, "reference": reference, "ratio": ours / reference, "what": what}


def medians(sides: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, float]:
    """The median of what each side's calls give; the sides take turns, so that what else runs meets both."""
    given = [{side: call() for side, call in sides.items()} for _ in range(repetitions)]
    return {side: float(np.median([turn[side] for turn in given])) for side in sides}
