"""Which action spaces have words."""

import gymnasium as gym
import numpy as np

from envs.errors import UserError, shown

MOST_ACTIONS = 10_000  # of a discrete space: each is a word of the grammar
MOST_AXES = 1000  # of a continuous one
LONGEST = "-9999.9999999e+99"  # a number in words
VALID = (
    f"valid: Discrete of at most {MOST_ACTIONS:,} actions, "
    f"a bounded one-dimensional Box of at most {MOST_AXES:,} axes, or Text that holds numbers such as {LONGEST}"
)


def check_actions(space: gym.Space) -> None:
    """Raises UserError for a space whose actions have no words, naming it and the kinds that have."""
    if isinstance(space, gym.spaces.Discrete):
        fits = 0 < space.n <= MOST_ACTIONS
    elif isinstance(space, gym.spaces.Box):
        fits = len(space.shape) == 1 and 0 < space.shape[0] <= MOST_AXES and _is_bounded(space)
    else:
        fits = isinstance(space, gym.spaces.Text) and _holds_numbers(space)
    if not fits:
        raise UserError(f"cannot put actions of {shown(space)} into words; {VALID}")


def _is_bounded(space: gym.spaces.Box) -> bool:
    """Whether each axis has two bounds, in this order, and their difference and sum are numbers too."""
    if space.dtype.kind not in "biuf" or not space.is_bounded() or not (space.low <= space.high).all():
        return False
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    with np.errstate(over="ignore"):
        return bool(np.isfinite(high - low).all() and np.isfinite(high + low).all())


def _holds_numbers(space: gym.spaces.Text) -> bool:
    holds = {*LONGEST, *"0123456789"} <= space.character_set
    return holds and space.min_length <= 1 and len(LONGEST) <= space.max_length
