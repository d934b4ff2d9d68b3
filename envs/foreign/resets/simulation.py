"""MuJoCo's own state, wherever an environment keeps it."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import gymnasium as gym
import numpy as np

from envs.checks.health import data_of
from envs.rendering import mujoco

PHYSICS = mujoco.mjtState.mjSTATE_INTEGRATION
# Where environments keep a MuJoCo simulation, whose state is copied by itself. In parts: they refer to each other.
_SIMULATORS = (
    *("data", "model", "physics", "physics.data", "physics.model", "physics.data.ptr", "physics.model.ptr"),
    *("_env.physics", "_env.physics.data", "_env.physics.model", "_env.physics.data.ptr", "_env.physics.model.ptr"),
    *("sim", "sim.data", "sim.model", "sim.data._data", "sim.model._model"),
)


def simulators(env: gym.Env[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of the MuJoCo simulation behind an environment, each with where it is; none without one."""
    inner = env.unwrapped
    if data_of(inner) is None:
        return
    for place in _SIMULATORS:
        try:
            yield place, attrgetter(place)(inner)
        except AttributeError:
            continue


def physics_of(data: mujoco.MjData) -> np.ndarray:
    """A copy of all that MuJoCo integrates, (n,) float64; `mj_setState` with PHYSICS returns to it."""
    state = np.empty(mujoco.mj_stateSize(data.model, PHYSICS))
    mujoco.mj_getState(data.model, data, state, PHYSICS)
    return state


def put_physics(data: mujoco.MjData, physics: np.ndarray, poses: np.ndarray) -> None:
    """Return to a state. poses: (bodies, 7) float64, position and quaternion, which may lag behind it."""
    model = data.model
    mujoco.mj_setState(model, data, physics, PHYSICS)
    mujoco.mj_forward(model, data)  # what follows from the state; it moves the warm start
    mujoco.mj_setState(model, data, physics, PHYSICS)
    data.xpos[:], data.xquat[:] = poses[:, :3], poses[:, 3:]
    _follow(model, data)


def put_flat(data: mujoco.MjData, state: np.ndarray) -> None:
    """Put a simulation into a state (1 + nq + nv,) as robosuite flattens it: time [s], joint positions and velocities.
    What follows from these is computed; controls and the solver's warm start stay as they were."""
    data.time = state[0]
    data.qpos[:], data.qvel[:] = np.split(state[1:], [data.model.nq])
    mujoco.mj_forward(data.model, data)


def _follow(model: Any, data: Any) -> None:
    """Recomputes all that MuJoCo derives from the bodies' poses, as `mj_kinematics` does from the joints."""
    for body in range(model.nbody):
        mujoco.mju_quat2Mat(data.xmat[body], data.xquat[body])
    bodies = range(model.nbody), model.body_ipos, model.body_iquat, model.body_sameframe, data.xipos, data.ximat
    geoms = model.geom_bodyid, model.geom_pos, model.geom_quat, model.geom_sameframe, data.geom_xpos, data.geom_xmat
    sites = model.site_bodyid, model.site_pos, model.site_quat, model.site_sameframe, data.site_xpos, data.site_xmat
    for part in (bodies, geoms, sites):
        for body, place, turn, same, there, turned in zip(*part, strict=True):
            mujoco.mj_local2Global(data, there, turned, place, turn, body, same)
    mujoco.mj_comPos(model, data)  # a camera may follow the centre of mass
    mujoco.mj_camlight(model, data)
