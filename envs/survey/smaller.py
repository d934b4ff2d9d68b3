"""Arguments of a constructor that make an environment's own pictures smaller, where these are slow: a policy sees
64 px of what some draw, pixel by pixel on the CPU, in 720 x 480."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import gymnasium as gym

from envs.errors import UserError
from envs.foreign.making import arguments, made
from envs.foreign.raising import is_of_environment

SLOW_MS = 100.0  # of a picture
SIDE = 128  # [px] of the longer side: twice what a policy sees, so that scaling down smooths it
SIDES = {"width": 1, "height": 0}  # in the names of arguments -> axis of a picture
DRAWN = 3  # pictures that are timed


def smaller(env: gym.Env, env_id: str, kwargs: Mapping[str, Any]) -> dict[str, int]:
    """Arguments for width and height, in the picture's own ratio; empty where a picture takes less than SLOW_MS, is
    small, has no such arguments, or is not drawn in half the time with them. env: made with the kwargs, after a reset.

    An argument is for a side where its default is the side's length and its name says so (`render_width`).
    """
    shape, ms = _timed(env)
    if ms < SLOW_MS or max(shape) <= SIDE:
        return {}
    scale = SIDE / max(shape)
    found = {
        name: round(shape[axis] * scale)
        for name, default in arguments(env_id).items()
        for side, axis in SIDES.items()
        if side in name.lower() and type(default) is int and default == shape[axis]
    }
    if len(found) != len(SIDES) or found.keys() & kwargs.keys():
        return {}
    return found if _is_faster(env_id, {**kwargs, **found}, ms) else {}


def _timed(env: gym.Env) -> tuple[tuple[int, int], float]:
    """(height, width) [px] of a picture, and how long it takes [ms]: the fastest of DRAWN, since others work too."""
    times = []
    for _ in range(DRAWN):
        started = time.perf_counter()
        picture = env.render()
        times.append(1000 * (time.perf_counter() - started))
    return picture.shape[:2], min(times)


def _is_faster(env_id: str, kwargs: Mapping[str, Any], ms: float) -> bool:
    """Whether pictures of the environment with these arguments take half the time at most."""
    try:
        with closing(made(env_id, "", env_id, kwargs)) as env:
            env.reset(seed=0)
            return _timed(env)[1] < ms / 2
    except BaseException as error:  # whatever an environment raises that refuses them
        if not (isinstance(error, UserError) or is_of_environment(error)):
            raise
        return False
