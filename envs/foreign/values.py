"""What a step gives back beside its observation: a reward, two flags and `info`, each of the kind it should be."""

from collections.abc import Mapping
from math import isfinite, isnan
from numbers import Real
from typing import Any

import numpy as np

from envs.errors import SimulatorError, UserError, shown

DIGITS = 12  # of a reward, of the 16 of a float64


def number(value: Any, what: str) -> float:
    """A number or truth value, which may be an array of no dimensions. Raises UserError for anything else."""
    if type(value) is float:  # what most environments give
        return value
    plain = value.item() if getattr(value, "shape", None) == () else value
    if not isinstance(plain, (Real, np.bool_)):
        raise UserError(f"{what} is {_named(value)}; valid: one number, or true or false")
    try:
        return float(plain)
    except OverflowError as error:
        raise UserError(f"{what} is {_named(value)}; valid: a number below 1e308") from error


def success_number(value: Any, key: str) -> float:
    """The number that `info` tells under a success key. Raises UserError for anything else, and for NaN."""
    found = number(value, f"info[{key!r}], which tells success,")
    if isnan(found):
        raise UserError(f"info[{key!r}], which tells success, is nan; valid: one number, or true or false")
    return found


def rewarded(value: Any) -> float:
    """A reward. Raises UserError for what is no number, and SimulatorError for one that is not finite."""
    reward = number(value, "the reward")
    if not isfinite(reward):
        raise SimulatorError(f"the reward is {reward}; valid: a finite number")
    return reward


def rounded(reward: float) -> float:
    """A reward to DIGITS significant digits. One that is summed over a set differs in the last for the same state,
    as PushT's overlap does: pymunk keeps a body's shapes in a set, whose order is that of memory addresses."""
    return float(f"{reward:.{DIGITS}g}")


def check_ending(terminated: Any, truncated: Any, info: Any) -> None:
    """Raises UserError for flags that are not true or false, and for an `info` that is no dictionary."""
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, (bool, np.bool_)) and number(flag, name) not in (0, 1):
            raise UserError(f"{name} is {_named(flag)}; valid: true or false")
    if not isinstance(info, Mapping):
        raise UserError(f"info is {_named(info)}; valid: a dictionary")


def _named(value: Any) -> str:
    kind = "" if value is None else f" ({type(value).__name__})"
    return f"{shown(value, 60)}{kind}"
