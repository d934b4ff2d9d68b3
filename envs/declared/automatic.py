"""`sees: auto`: what a picture of a MuJoCo environment shows to move, by name, where it is in the task's first picture.

Bodies and sites with a name are chosen that are drawn in the picture, in most of the states that are met in play, and
that move by more than a word from one reset, or one step, to another.
"""

import re
from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from envs.declared.measuring import EPISODES, Act, bounds_of, played
from envs.declared.numbers import BINS, Form, Number, Parts
from envs.declared.sources import PICTURE, Source, middle, names_of, place_markers
from envs.errors import UserError
from envs.rendering import camera_of, mujoco, renderer_for, seen_from
from envs.snapshot import Restorable, is_physical
from envs.task import Task

MOST_PARTS = 8  # a thought of more is long
DRAWN = 50  # states of play, evenly spread, whose pictures are looked at
OFTEN = 0.5  # share of those pictures in which a part must be
FEW_PIXELS = 1  # that show it
LEAST_MOTION = 1 / BINS  # of the picture's side
SAME = 1 / 64  # of the picture's side: the mean distance below which two parts are one
NEARER = 0.1  # share of its mean by which a depth varies at one place of the picture, before it has a word


class Seen(NamedTuple):
    """A body or site in the states of play. where: (n, 3) column, row and depth. pixels: (pictures,)."""

    kind: str
    name: str
    where: np.ndarray
    pixels: np.ndarray


def chosen(task: Task, expert: Act | None = None, episodes: int = EPISODES) -> Parts:
    """The parts of `sees: auto`, with their ranges: those that move most, at most MOST_PARTS.

    task: without words for its state. Raises UserError for an environment without MuJoCo, and where nothing that has a
    name is seen to move.
    """
    candidates = sorted(_candidates(task, expert, episodes), key=_motion, reverse=True)
    parts: list[Seen] = []
    for one in candidates:
        alone = all(np.abs(one.where - other.where)[:, :2].mean() > SAME for other in parts)
        if alone and len(parts) < MOST_PARTS:
            parts.append(one)
    if not parts:
        raise UserError(
            f"sees: auto finds no body or site with a name that is seen to move in the first picture of "
            f"{task.env.id!r}; valid: another camera, or parts under sees, such as `ball: [observation.0]`"
        )
    size, names = task.env.image_size, _part_names(parts)
    return {name: _numbers(part, size) for name, part in zip(names, parts, strict=True)}


def _candidates(task: Task, expert: Act | None, episodes: int) -> list[Seen]:
    camera = task.env.cameras[0]
    count = 0

    def read(env: Restorable) -> tuple[dict[tuple[str, str], np.ndarray], Counter[tuple[str, str]] | None]:
        nonlocal count
        if not is_physical(env):
            raise UserError(f"sees: auto needs MuJoCo, and {task.env.id!r} has none; valid: parts under sees")
        count += 1
        place_markers(env)
        return _places(env.unwrapped, camera), _pixels(env.unwrapped, camera, task.env.image_size, count)

    states = [state for each in played(task, read, expert, episodes).samples.values() for state in each]
    pictures = [pixels for _, pixels in states if pixels is not None]
    seen = []
    for kind, name in states[0][0]:
        where = np.array([places[kind, name] for places, _ in states])
        pixels = np.array([pixels[kind, name] for pixels in pictures])
        one = Seen(kind, name, where, pixels)
        if (pixels >= FEW_PIXELS).mean() >= OFTEN and _motion(one) >= LEAST_MOTION:
            seen.append(one)
    return seen


def _motion(part: Seen) -> float:
    """How far it moves, in sides of the picture: the longer of its ranges, without outliers."""
    inside = np.clip(part.where[:, :2], 0, 1)
    return float(np.max(np.quantile(inside, 0.95, axis=0) - np.quantile(inside, 0.05, axis=0)))


def _places(inner: Any, camera: str | Mapping[str, Any]) -> dict[tuple[str, str], np.ndarray]:
    """(kind, name) -> (3,) column, row and depth, of all bodies but the world, and sites."""
    data, model = inner.data, inner.model
    return {
        (kind, name): seen_from(inner, camera, middle(data, kind, index))
        for kind in ("body", "site")
        for name in names_of(model, kind)
        if (index := getattr(data, kind)(name).id) or kind != "body"
    }


def _pixels(inner: Any, camera: str | Mapping[str, Any], size: int, count: int) -> Counter[tuple[str, str]] | None:
    """(kind, name) -> pixels that show a body's own geoms, or a site; None for most states, as drawing takes time."""
    if count % max(1, 2000 // DRAWN) != 1:
        return None
    model, pixels = inner.model, Counter()
    shown = renderer_for(model, size).pixels(model, inner.data, camera_of(inner, camera))
    for (kind, index), n in shown.items():
        if kind == mujoco.mjtObj.mjOBJ_GEOM:
            name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, model.geom_bodyid[index])
            pixels["body", name] += n
        elif kind == mujoco.mjtObj.mjOBJ_SITE:
            pixels["site", mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_SITE, index)] += n
    return pixels


def _part_names(parts: list[Seen]) -> list[str]:
    """One word each: of `robot0:gripper_link` it is `robot0_gripper_link`."""
    names: list[str] = []
    for part in parts:
        name = re.sub(r"\W+", "_", part.name, flags=re.ASCII).strip("_") or part.kind
        name = name if not name[0].isdecimal() else f"{part.kind}_{name}"
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def _numbers(part: Seen, size: int) -> tuple[Number, ...]:
    """Column and row, where it moves that way, within the range of play, with no word finer than a pixel; and depth
    where that does not follow from them."""
    numbers = []
    for axis, what in enumerate(PICTURE[:2]):
        inside = np.clip(part.where[:, axis], 0, 1)
        if np.ptp(np.quantile(inside, [0.05, 0.95])) < LEAST_MOTION / 2:
            continue
        low, high = np.quantile(inside, 0.005), np.quantile(inside, 0.995)
        low, high = max(0.0, floor_to(low - 0.01)), min(1.0, -floor_to(-high - 0.01))
        form = Form(low=low, high=high, bins=int(np.clip(ceil((high - low) * size), 2, BINS)))
        numbers.append(Number(Source(part.kind, part.name, (what,)), form))
    if _is_deep(part.where):
        low, high = bounds_of([part.where[:, 2]])
        numbers.append(Number(Source(part.kind, part.name, (PICTURE[2],)), Form(low=low, high=high, bins=BINS)))
    return tuple(numbers)


def _is_deep(where: np.ndarray) -> bool:
    """Whether depth varies beyond what column and row tell, as on a table they do. where: (n, 3)."""
    places, depth = np.column_stack([where[:, :2], np.ones(len(where))]), where[:, 2]
    plane, *_ = np.linalg.lstsq(places, depth, rcond=None)
    return bool(np.ptp(np.quantile(depth - places @ plane, [0.05, 0.95])) > NEARER * depth.mean())


def floor_to(number: float, digits: int = 2) -> float:
    """Rounded down to so many digits after the point."""
    return round(float(np.floor(number * 10**digits) / 10**digits), digits)
