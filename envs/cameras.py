"""Through which camera a MuJoCo environment is drawn, and where a point of the world is in its picture."""

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import numpy as np

from envs.errors import UserError, nearest, unknown
from envs.rendering import mujoco

FREE_CAMERA = ("lookat", "distance", "azimuth", "elevation", "trackbodyid", "type")
GROUPS = ("geomgroup", "sitegroup", "tendongroup", "skingroup", "flexgroup", "flags")  # of MuJoCo's MjvOption


def cameras_of(env: Any) -> list[str]:
    """The names of the cameras of a Gymnasium MuJoCo environment, in the model's order."""
    return [name for i in range(env.model.ncam) if (name := env.model.camera(i).name)]


@dataclass(frozen=True)
class OwnView:
    """How an environment's own renderer shows it. camera: a name, or the fields of a free camera. shown: name of GROUPS
    -> which of the groups, or of the visual elements, are drawn."""

    camera: str | Mapping[str, Any]
    shown: Mapping[str, np.ndarray]

    def option(self) -> mujoco.MjvOption:
        option = mujoco.MjvOption()
        for name, which in self.shown.items():
            getattr(option, name)[:] = which
        return option


class _AskedError(Exception):
    """Ends a `render` that has said what it would draw: a picture of its own size and with shadows takes long."""


def own_view(env: Any, render: Callable[[], object]) -> OwnView | None:
    """What a Gymnasium MuJoCo environment asks MuJoCo for in a `render` of its own: the first of its cameras, and the
    groups that it draws. None where it asks for nothing, or for a camera without a name."""
    asked: list[tuple[Any, Any]] = []

    def noted(model: Any, data: Any, option: Any, perturb: Any, camera: Any, *rest: Any) -> None:
        asked.append((copy.copy(option), copy.copy(camera)))
        raise _AskedError

    with (
        suppress(_AskedError),
        patch.object(mujoco, "mjv_updateScene", noted),  # where Gymnasium calls it
        patch.object(mujoco._functions, "mjv_updateScene", noted),  # where MuJoCo's Renderer does
    ):
        render()
    if not asked:
        return None
    option, camera = asked[0]
    shown = {name: np.array(getattr(option, name)) for name in GROUPS if hasattr(option, name)}
    if camera.type == mujoco.mjtCamera.mjCAMERA_FIXED:
        name = env.model.camera(camera.fixedcamid).name
        return OwnView(name, shown) if name else None
    fields = {key: getattr(camera, key) for key in ("distance", "azimuth", "elevation", "trackbodyid")}
    return OwnView({"lookat": camera.lookat.tolist(), **fields}, shown)


def camera_of(env: Any, camera: str | Mapping[str, Any] = "", own: OwnView | None = None) -> str | mujoco.MjvCamera:
    """The camera of a Gymnasium MuJoCo environment: a named one, or a free one with these fields of MuJoCo's MjvCamera
    (lookat [m], distance [m], azimuth and elevation [degrees], trackbodyid); else the one that the environment was made
    with (its arguments camera_id or camera_name), else `track`, else the environment's own by its configuration, or as
    it shows itself (own), else MuJoCo's default one.

    Gymnasium's free camera looks at the middle of all geoms as they lie at first, and so loses what runs away; one
    that the model calls `track` goes with it. Raises UserError for a name that the model does not have, or a field that
    no camera has.
    """
    model = env.model
    named = cameras_of(env)
    if isinstance(camera, str):
        if camera and camera not in named:
            valid = nearest(camera, named) if named else "valid: none, leave it out"
            raise UserError(f"unknown camera {camera!r}; {valid}")
        if camera:
            return camera
        renderer = getattr(env, "mujoco_renderer", None)
        given = getattr(renderer, "camera_id", None)
        if given is not None and given != -1:  # by the environment's arguments camera_id or camera_name
            fixed = mujoco.MjvCamera()
            fixed.type, fixed.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, given
            return fixed
        if "track" in named:
            return "track"
        camera = (renderer and renderer.default_cam_config) or (own.camera if own else {})
        if isinstance(camera, str):
            return camera
    free = mujoco.MjvCamera()
    free.distance = model.stat.extent
    free.lookat[:] = model.stat.center
    for key, value in camera.items():
        if key not in FREE_CAMERA:
            raise unknown("field of a free camera", key, FREE_CAMERA)
        if key == "lookat":
            free.lookat[:] = value
        else:
            setattr(free, key, value)
    if free.trackbodyid > 0:
        free.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    return free


_NEXT, _LAST = np.array([1, 2, 0]), np.array([2, 0, 1])  # axes after and before each one
_viewpoints: WeakKeyDictionary[mujoco.MjModel, mujoco.MjvScene] = WeakKeyDictionary()  # for `seen_from` alone


def seen_from(
    model: mujoco.MjModel, data: mujoco.MjData, camera: str | mujoco.MjvCamera, point: np.ndarray
) -> np.ndarray:
    """(3,): where a point of the world, (3,) [m], is in the square picture of a camera: its column from the left and
    its row from above, each from 0 to 1 within the picture, and its depth [m].

    A point behind a camera with perspective has no place: it is taken at the depth of the near plane.
    """
    if isinstance(camera, str):
        name, camera = camera, mujoco.MjvCamera()
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
    if model not in _viewpoints:
        _viewpoints[model] = mujoco.MjvScene(model, 1)
    scene = _viewpoints[model]
    mujoco.mjv_updateCamera(model, data, camera, scene)
    eye = mujoco.mjv_averageCamera(*scene.camera)
    offset, forward, up = point - eye.pos, np.array(eye.forward), np.array(eye.up)
    depth = offset @ forward
    top, bottom = eye.frustum_top, eye.frustum_bottom
    half = (top - bottom) / 2
    scale = 1.0 if eye.orthographic else eye.frustum_near / max(depth, eye.frustum_near)
    right, above = _cross(forward, up) @ offset * scale, up @ offset * scale
    width = eye.frustum_width or half  # of half the picture; 0 where the picture's shape decides
    column = 0.5 + (right - eye.frustum_center) / (2 * width)
    return np.array([column, (top - above) / (top - bottom), depth])


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The cross product of two vectors, (3,), bit for bit numpy's, which takes twice as long as all else of
    `seen_from`."""
    return one[_NEXT] * other[_LAST] - one[_LAST] * other[_NEXT]
