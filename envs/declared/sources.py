"""Where a number of `sees` comes from, in text: `observation.0`, `info.ball_x`, `unwrapped.goal.0`, `body.target.x`.

observation: the environment's own, its keys and indices after dots. info: a key of the last one. unwrapped: an
attribute of the environment, or of something in it. body, site, geom: of a MuJoCo model by name, its place in the world
(x, y, z [m]) or in the picture of a camera (column, row, depth). joint: by name, `qpos` and `qvel`, each with an index
where a joint has several.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.checks.health import data_of
from envs.errors import UserError, close_to, unknown
from envs.foreign.numbers import AbsentError, found
from envs.rendering import mujoco, seen_from
from envs.snapshot import is_physical

PATHS = ("observation", "info", "unwrapped")
MUJOCO = {
    "body": (mujoco.mjtObj.mjOBJ_BODY, "xpos"),
    "site": (mujoco.mjtObj.mjOBJ_SITE, "site_xpos"),
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "geom_xpos"),
}
WORLD, PICTURE = ("x", "y", "z"), ("column", "row", "depth")
JOINT = ("qpos", "qvel")
KINDS = (*PATHS, *MUJOCO, "joint")
MOST_NUMBERS = 64  # of a slice
_SLICE = re.compile(r"(\d+):(\d+)")
_STATE = {
    "qpos": {mujoco.mjtJoint.mjJNT_FREE: 7, mujoco.mjtJoint.mjJNT_BALL: 4},
    "qvel": {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3},
}


class Source(NamedTuple):
    """kind: of KINDS. name: of a body, site, geom or joint. path: what follows, `("0",)` or `("x",)`. camera: whose
    picture a column or a row is of; empty for the first of the task."""

    kind: str
    name: str = ""
    path: tuple[str, ...] = ()
    camera: str = ""

    def __str__(self) -> str:
        return ".".join([self.kind, *([self.name] if self.name else []), *self.path])

    @property
    def in_picture(self) -> bool:
        return self.path[:1] in [(place,) for place in PICTURE] and self.kind in MUJOCO


def sources(text: str, camera: str = "") -> Iterator[Source]:
    """Those that a text names: one, or as many as its slice, `observation.goal.0:2`. Raises UserError for none."""
    kind, *rest = text.split(".")
    if kind not in KINDS:
        raise UserError(f"{text!r} is no source of a number; valid: {_examples()}")
    if "" in rest or (kind != "observation" and not rest):
        raise UserError(f"{text!r} is not complete; valid: {_examples()}")
    if kind not in PATHS:
        yield _of_mujoco(kind, rest, text, camera)
        return
    sliced = [i for i, step in enumerate(rest) if _SLICE.fullmatch(step)]
    if not sliced:
        yield Source(kind, "", tuple(rest))
        return
    at, *more = sliced
    first, end = map(int, rest[at].split(":"))
    if more or first >= end:
        raise UserError(f"{text!r} has {'several slices' if more else 'no number'}; valid: one, such as 0:2 for two")
    if end - first > MOST_NUMBERS:
        raise UserError(f"{text!r} has {end - first} numbers; valid: at most {MOST_NUMBERS}")
    for index in range(first, end):
        yield Source(kind, "", (*rest[:at], str(index), *rest[at + 1 :]))


def _examples() -> str:
    return "observation.0, info.KEY, unwrapped.ATTRIBUTE, body.NAME.x, site.NAME.column, geom.NAME.z, joint.NAME.qpos"


def _of_mujoco(kind: str, rest: list[str], text: str, camera: str) -> Source:
    """A name may hold dots."""
    if kind == "joint":
        known = [i for i, step in enumerate(rest) if step in JOINT and i]
        at = known[-1] if known else len(rest)
        name, path = ".".join(rest[:at]), tuple(rest[at:]) or ("qpos",)
        if len(path) > 2 or not all(index.isdecimal() for index in path[1:]):
            raise UserError(f"{text!r} is no number of a joint; valid: joint.NAME, joint.NAME.qvel, joint.NAME.qpos.0")
        return Source(kind, name, path)
    *name, place = rest
    if not name or place not in (*WORLD, *PICTURE):
        valid = ", ".join(f"{kind}.{'.'.join(name) or 'NAME'}.{place}" for place in (*WORLD, *PICTURE))
        raise UserError(f"{text!r} is no place of a {kind}; valid: {valid}")
    if camera and place not in PICTURE:
        raise UserError(f"{text!r} has a camera; valid: leave it out, or column, row or depth of its picture")
    return Source(kind, ".".join(name), (place,), camera)


def number_of(source: Source, env: gym.Env, camera: str | Mapping[str, Any] = "") -> float:
    """The number now, in an environment as `Task.make` gives it. camera: the task's first.

    Raises UserError, naming the valid ones, for what is not there (of `info` its kin AbsentError), and for what is no
    finite number.
    """
    if source.kind == "observation":
        return found(env.get_wrapper_attr("observation"), source.path, "observation")
    if source.kind == "unwrapped":
        return found(env.unwrapped, source.path, "unwrapped")
    if source.kind == "info":
        told = env.get_wrapper_attr("info_numbers")[".".join(source.path)]
        if isinstance(told, str):
            raise AbsentError(told)
        return told
    data = data_of(env)
    if data is None:
        raise UserError(f"{source} of an environment without MuJoCo; valid: observation, info, unwrapped")
    if source.kind == "joint":
        return _of_joint(source, data)
    kind, places = MUJOCO[source.kind]
    index = _named(source, data.model, kind)
    if source.kind == "site":
        place_markers(env)
    if not source.in_picture:
        return float(getattr(data, places)[index][WORLD.index(source.path[0])])
    if not is_physical(env):
        raise UserError(f"{source} of an environment that draws its own pictures; valid: {', '.join(WORLD)}")
    point = middle(data, source.kind, index)
    return float(seen_from(env.unwrapped, source.camera or camera, point)[PICTURE.index(source.path[0])])


def middle(data: mujoco.MjData, kind: str, index: int) -> np.ndarray:
    """(3,) [m]: the middle of what is drawn of a body, site or geom. A body's own origin is where its joint is."""
    return data.xipos[index] if kind == "body" else getattr(data, MUJOCO[kind][1])[index]


def place_markers(env: gym.Env) -> None:
    """Puts the sites where a picture shows them: Gymnasium-Robotics does so only while it renders."""
    if env.has_wrapper_attr("place_markers"):
        env.get_wrapper_attr("place_markers")()


def _named(source: Source, model: mujoco.MjModel, kind: mujoco.mjtObj) -> int:
    index = mujoco.mj_name2id(model, kind, source.name)
    if index < 0:
        names = names_of(model, source.kind)
        close = close_to(source.name, names) if len(names) > 12 else f"valid: {', '.join(names) or 'none has a name'}"
        raise UserError(f"unknown {source.kind} {source.name!r}; {close}")
    return index


def names_of(model: mujoco.MjModel, kind: str) -> list[str]:
    """The names of a model's bodies, sites, geoms or joints, in their order."""
    objects = {kind: found for kind, (found, _) in MUJOCO.items()} | {"joint": mujoco.mjtObj.mjOBJ_JOINT}
    count = {"body": model.nbody, "site": model.nsite, "geom": model.ngeom, "joint": model.njnt}[kind]
    return [name for i in range(count) if (name := mujoco.mj_id2name(model, objects[kind], i))]


def _of_joint(source: Source, data: mujoco.MjData) -> float:
    model = data.model
    joint = _named(source, model, mujoco.mjtObj.mjOBJ_JOINT)
    what, *index = source.path
    count = _STATE[what].get(mujoco.mjtJoint(model.jnt_type[joint]), 1)
    if not index and count > 1:
        raise UserError(f"{source} is {count} numbers; valid: {source}.0 to {source}.{count - 1}")
    at = int(index[0]) if index else 0
    if at >= count:
        raise unknown(f"number of {source.name}.{what}", at, map(str, range(count)))
    first = (model.jnt_qposadr if what == "qpos" else model.jnt_dofadr)[joint]
    return float(np.asarray(getattr(data, what))[first + at])
