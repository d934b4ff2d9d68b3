"""Which action spaces have words, and the bounds of those that have none of their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import UserError, shown, unknown

MOST_ACTIONS = 10_000  # of a discrete space, or of all axes of one: each is a word of the grammar
MOST_AXES = 1000  # of a space, all its parts together
LONGEST = "-9999.9999999e+99"  # a number in words
VALID = (
    f"valid: Discrete of at most {MOST_ACTIONS:,} actions, MultiDiscrete, MultiBinary, a bounded Box of at most "
    f"{MOST_AXES:,} axes, Dict or Tuple of these, or Text that holds numbers such as {LONGEST}"
)
BOUNDS = "bounds: [low, high] in the task's file, or a pair for each axis"
Bounds = Sequence[Any] | Mapping[str, Any]  # a pair, a pair for each axis, or the bounds of a Dict's or Tuple's parts


def check_actions(space: gym.Space) -> None:
    """Raises UserError for a space whose actions have no words, naming it and the kinds that have."""
    if isinstance(space, gym.spaces.Text):
        if not _holds_numbers(space):
            raise _without_words(space, space)
        return
    axes, choices = 0, 0
    for name, leaf in leaves(space):
        if isinstance(leaf, gym.spaces.Box):
            if leaf.dtype.kind not in "biuf" or not (leaf.low <= leaf.high).all() or leaf.low.size == 0:
                raise _without_words(leaf, space, name)
            if not _is_bounded(leaf):
                raise _without_words(leaf, space, name, f" without {BOUNDS}")
            axes += leaf.low.size
        else:
            sizes = sizes_of(leaf)
            if sizes is None or not sizes.size or (sizes <= 0).any():
                raise _without_words(leaf, space, name)
            axes, choices = axes + sizes.size, choices + int(sizes.sum())
    if not 0 < axes <= MOST_AXES or choices > MOST_ACTIONS:
        raise _without_words(space, space)


def leaves(space: gym.Space, name: str = "") -> Iterator[tuple[str, gym.Space]]:
    """The spaces within a Dict or a Tuple, in their order, with their names (`arm.grip`, `0`); of another, itself."""
    for key, part in parts_of(space):
        yield from leaves(part, f"{name}.{key}" if name else key)
    if not isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        yield name, space


def parts_of(space: gym.Space) -> list[tuple[str, gym.Space]]:
    """The parts of a Dict by their keys, of a Tuple by their numbers; none of another space."""
    if isinstance(space, gym.spaces.Dict):
        return [(str(key), part) for key, part in space.spaces.items()]
    return [(str(i), part) for i, part in enumerate(space.spaces)] if isinstance(space, gym.spaces.Tuple) else []


def sizes_of(space: gym.Space) -> np.ndarray | None:
    """(axes,): the number of choices on each axis of a discrete space; None for another kind."""
    if isinstance(space, gym.spaces.Discrete):
        return np.array([int(space.n)])
    if isinstance(space, gym.spaces.MultiDiscrete):
        return np.asarray(space.nvec, np.int64).ravel()
    if isinstance(space, gym.spaces.MultiBinary):
        return np.full(int(np.prod(space.shape)), 2)
    return None


def bounded(space: gym.Space, bounds: Bounds, name: str = "") -> gym.Space:
    """The space with these bounds of its boxes, none of them wider than the space's own.

    bounds: [low, high] for all axes, a pair for each axis, or of a Dict or a Tuple the bounds of some of its parts by
    key or number. A pair for a Dict or a Tuple is for its boxes without bounds. Raises UserError for a key that is no
    part, bounds of what is no Box, another number of pairs, and a low that is not below its high.
    """
    what = f"bounds.{name}" if name else "bounds"
    parts = dict(parts_of(space))
    if isinstance(bounds, Mapping):
        if not parts:
            raise UserError(f"{what} = {shown(bounds)} of {shown(space)}; valid: [low, high]")
        for key in bounds:
            if str(key) not in parts:
                raise unknown(f"part {what} of the actions", str(key), parts)
        of = {str(key): value for key, value in bounds.items()}
        changed = [
            bounded(part, of[key], f"{name}.{key}".strip(".")) if key in of else part for key, part in parts.items()
        ]
        return _of_parts(space, changed)
    if parts:
        if _needs_none(space):
            raise UserError(f"{what} = {shown(bounds)}, but each Box of {shown(space)} has its own; valid: by key")
        changed = [
            part if _needs_none(part) else bounded(part, bounds, f"{name}.{key}".strip("."))
            for key, part in parts.items()
        ]
        return _of_parts(space, changed)
    if not isinstance(space, gym.spaces.Box):
        raise UserError(f"{what} = {shown(bounds)} of {shown(space)}; valid: bounds of a Box")
    return _narrowed(space, bounds, what)


def measured(space: gym.Space, actions: Sequence[Any]) -> Bounds | None:
    """Bounds of the space's boxes that have none, as a task's file holds them: the least and the greatest number on
    each axis of some actions, such as an expert's. None where each Box has its own.

    Raises UserError without actions, or where an axis never moves: its range cannot be measured.
    """
    if not isinstance(space, gym.spaces.Box):
        found = {
            key: bounds
            for i, (key, part) in enumerate(parts_of(space))
            if (bounds := measured(part, [_part(action, key, i) for action in actions])) is not None
        }
        return found or None
    if _is_bounded(space):
        return None
    if not actions:
        raise UserError(f"no action to measure the bounds of {shown(space)} by; valid: {BOUNDS}")
    taken = np.array([np.ravel(action) for action in actions], np.float64)
    low, high = taken.min(axis=0), taken.max(axis=0)
    if not (low < high).all():
        axis = int(np.argmin(high - low))
        raise UserError(f"axis {axis} of {shown(space)} is {low[axis]:g} in all {len(taken)} actions; valid: {BOUNDS}")
    return [[float(a), float(b)] for a, b in zip(low, high, strict=True)]


def _part(action: Any, key: str, i: int) -> Any:
    """The part of an action of a Dict or a Tuple."""
    return next(item for name, item in action.items() if str(name) == key) if isinstance(action, Mapping) else action[i]


class Bounded(gym.Wrapper[Any, Any, Any, Any]):
    """Bounds the boxes of its actions, as `bounded` does."""

    def __init__(self, env: gym.Env[Any, Any], bounds: Bounds):
        """Raises UserError for bounds that the action space cannot have."""
        super().__init__(env)
        self.action_space = bounded(env.action_space, bounds)


def _needs_none(space: gym.Space) -> bool:
    return all(not isinstance(leaf, gym.spaces.Box) or _is_bounded(leaf) for _, leaf in leaves(space))


def _of_parts(space: gym.Space, parts: list[gym.Space]) -> gym.Space:
    if isinstance(space, gym.spaces.Tuple):
        return gym.spaces.Tuple(parts)
    return gym.spaces.Dict(dict(zip(space.spaces, parts, strict=True)))


def _narrowed(space: gym.spaces.Box, bounds: Sequence[Any], what: str) -> gym.spaces.Box:
    n = space.low.size
    valid = f"valid: [low, high], or {n} of these, low no more than high, within {shown(space)}"
    try:
        pairs = np.array(bounds, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} = {shown(bounds)}; {valid}") from error
    if pairs.shape not in ((2,), (n, 2)):
        raise UserError(f"{what} = {shown(bounds)}; {valid}")
    low, high = np.broadcast_to(pairs, (n, 2)).T.reshape(2, *space.shape)
    if space.dtype.kind in "iu":
        low, high = np.ceil(low), np.floor(high)
    within = (space.low <= low) & (low <= high) & (high <= space.high) & np.isfinite(low) & np.isfinite(high)
    if not within.all():
        raise UserError(f"{what} = {shown(bounds)}; {valid}")
    return gym.spaces.Box(low.astype(space.dtype), high.astype(space.dtype), space.shape, space.dtype)


def _without_words(part: gym.Space, space: gym.Space, name: str = "", why: str = "") -> UserError:
    of = f" ({name} of {shown(space)})" if name else ""
    return UserError(f"cannot put actions of {shown(part)}{of} into words{why}; {VALID}")


def _is_bounded(space: gym.spaces.Box) -> bool:
    """Whether each axis has two bounds, and their difference and sum are numbers too."""
    if not space.is_bounded():
        return False
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    with np.errstate(over="ignore"):
        return bool(np.isfinite(high - low).all() and np.isfinite(high + low).all())


def _holds_numbers(space: gym.spaces.Text) -> bool:
    holds = {*LONGEST, *"0123456789"} <= space.character_set
    return holds and space.min_length <= 1 and len(LONGEST) <= space.max_length
