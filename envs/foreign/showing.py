"""Whether the pictures of an environment show anything of what happens in it."""

import os
import sys

import gymnasium as gym
import numpy as np

from envs.cameras import cameras_of
from envs.errors import UserError
from envs.foreign.raising import is_of_environment
from envs.snapshot import is_physical
from envs.splits import SPLITS

STEPS = 20  # random ones, in as many episodes as they take
STILL = "`still: true` in the task's file, for a task whose picture random play does not change"


def check_shows(env: gym.Env, still: bool = False) -> None:
    """Raises UserError where the pictures of STEPS random steps are all the same, or all of one colour, and names the
    likely cure. still: the same pictures are what the task is like; only those of one colour are refused.

    env: a task's, whose `pictures` are drawn until one differs from the first. One that raises is no concern of this.
    """
    if not env.has_wrapper_attr("pictures"):
        return
    try:
        seen = _seen(env)
    except BaseException as error:
        if isinstance(error, UserError) or not is_of_environment(error):
            raise
        return
    if seen is None or (still and not _is_plain(seen)):
        return
    colour = f", of one colour {tuple(map(int, seen[0, 0, 0, :]))}" if _is_plain(seen) else ""
    valid = "; or ".join([*_cures(env), *(() if _is_plain(seen) else (STILL,))])
    raise UserError(f"its pictures show nothing: {STEPS} random steps all gave the same one{colour}; valid: {valid}")


def _seen(env: gym.Env) -> np.ndarray | None:
    """(cameras, H, W, 3): the pictures that all steps gave; None where two differ."""
    seeds = iter(SPLITS["practice"])
    env.reset(seed=next(seeds))
    env.action_space.seed(0)
    draw = env.get_wrapper_attr("pictures")
    first = draw()
    for _ in range(STEPS):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if not np.array_equal(draw(), first):
            return None
        if terminated or truncated:
            env.reset(seed=next(seeds))
            if not np.array_equal(draw(), first):
                return None
    return first


def _is_plain(pictures: np.ndarray) -> bool:
    """Whether all is of one colour."""
    return bool((pictures == pictures[0, 0, 0]).all())


def _cures(env: gym.Env) -> list[str]:
    """What the user may do, by what draws."""
    if is_physical(env):
        named = ", ".join(cameras_of(env.unwrapped)) or "the model names none"
        return [f"another `camera` ({named}), or a free one such as camera: {{distance: 2, azimuth: 90}}"]
    cures = []
    if "pygame" in sys.modules and os.environ.get("SDL_VIDEODRIVER") == "dummy":
        cures.append("SDL_VIDEODRIVER=offscreen in place of dummy, with which pygame need not draw")
    if "pyglet" in sys.modules and os.environ.get("PYGLET_HEADLESS", "").lower() not in ("1", "true"):
        cures.append("PYGLET_HEADLESS=1")
    return [*cures, "an environment whose `render` draws after each step"]
