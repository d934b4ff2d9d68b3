"""Where a number of `sees` comes from, in text: `observation.0`, `info.ball_x`, `unwrapped.goal.0`, `body.target.x`.

body, site, geom: of a MuJoCo model by name, its place in the world (x, y, z [m]) or in the picture of a camera (column,
row, depth). joint: by name, `qpos` and `qvel`, each with an index where a joint has several. Any other text is a path
(`envs.foreign.paths`): of the environment's observation, of the last `info`, or of an attribute.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import gymnasium as gym
import numpy as np

from envs.checks.health import data_of
from envs.errors import UserError, nearest, unknown
from envs.foreign.numbers import as_number
from envs.foreign.paths import parts, value_at
from envs.rendering import mujoco
from envs.snapshot import is_physical

MUJOCO = {
    "body": (mujoco.mjtObj.mjOBJ_BODY, "xpos"),
    "site": (mujoco.mjtObj.mjOBJ_SITE, "site_xpos"),
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "geom_xpos"),
}
WORLD, PICTURE = ("x", "y", "z"), ("column", "row", "depth")
JOINT = ("qpos", "qvel")
KINDS = (*MUJOCO, "joint")
EXAMPLES = "observation.0, info.KEY, unwrapped.ATTRIBUTE, body.NAME.x, site.NAME.column, geom.NAME.z, joint.NAME.qpos"
MOST_NUMBERS = 64  # of a slice
_SLICE = re.compile(r"(?:\.|\[)(\d+):(\d+)\]?(?=\.|\[|$)")
_STATE = {
    "qpos": {mujoco.mjtJoint.mjJNT_FREE: 7, mujoco.mjtJoint.mjJNT_BALL: 4},
    "qvel": {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3},
}


class AbsentError(UserError):
    """A number that the last `info` does not have."""


class Source(NamedTuple):
    """kind: `path`, or of KINDS. name: of a body, site, geom or joint. path: what is read of it, `("x",)`, or the text
    of a path. camera: whose picture a column or a row is of; empty for the first of the task."""

    kind: str
    name: str
    path: tuple[str, ...]
    camera: str = ""

    def __str__(self) -> str:
        return self.path[0] if self.kind == "path" else ".".join([self.kind, self.name, *self.path])

    @property
    def in_picture(self) -> bool:
        return self.kind in MUJOCO and self.path[0] in PICTURE

    @property
    def of_info(self) -> bool:
        return self.kind == "path" and parts(self.path[0])[0].key == "info"


def sources(text: str, camera: str = "") -> Iterator[Source]:
    """Those that a text names: one, or as many as its slice, `observation.goal.0:2`. Raises UserError for none."""
    kind, *rest = text.split(".")
    if kind in KINDS:
        if not rest or "" in rest:
            raise UserError(f"{text!r} is not complete; valid: {EXAMPLES}")
        yield _of_mujoco(kind, rest, text, camera)
        return
    slices = list(_SLICE.finditer(text))
    if not slices:
        if any(isinstance(part.key, slice) for part in parts(text)):
            raise UserError(f"{text!r} does not say how many numbers it is; valid: both ends, such as 0:2 for two")
        yield Source("path", "", (text,))
        return
    at, *more = slices
    first, end = map(int, at.groups())
    if more or first >= end:
        raise UserError(f"{text!r} has {'several slices' if more else 'no number'}; valid: one, such as 0:2 for two")
    if end - first > MOST_NUMBERS:
        raise UserError(f"{text!r} has {end - first} numbers; valid: at most {MOST_NUMBERS}")
    for index in range(first, end):
        one = f"{text[: at.start()]}.{index}{text[at.end() :]}"
        parts(one)
        yield Source("path", "", (one,))


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


def number_of(source: Source, env: gym.Env) -> float:
    """The number now, in an environment as `Task.make` gives it.

    Raises UserError, naming the valid ones, for what is not there (of `info` its kin AbsentError), and for what is no
    finite number.
    """
    if source.of_info:
        kept = env.get_wrapper_attr("info_numbers")[source.path[0]]
        if isinstance(kept, str):
            raise AbsentError(kept)
        return kept
    if source.kind == "path":
        path = source.path[0]
        return as_number(value_at(path, env.get_wrapper_attr("observation"), {}, env), path)
    data = data_of(env)
    if data is None:
        raise UserError(f"{source} of an environment without MuJoCo; valid: paths, such as observation.0")
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
    return float(env.get_wrapper_attr("place")(point, source.camera)[PICTURE.index(source.path[0])])


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
        close = nearest(source.name, names) if names else "valid: none has a name"
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
