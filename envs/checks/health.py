"""A simulation that went wrong raises, so that its episode is broken and counts as no failure of the policy.

MuJoCo itself raises nothing. It counts warnings in its data: of a state that is not finite, after which it resets the
state by itself and goes on (its `autoreset`), and of buffers that are full, so that contacts are missing.
"""

from collections.abc import Sequence
from math import isfinite
from operator import attrgetter
from typing import Any

import gymnasium as gym

from envs.errors import SimulatorError
from envs.foreign.values import rewarded
from envs.rendering import mujoco

# Where environments keep MuJoCo's data: Gymnasium's, dm_control's own, those around one of dm_control, robosuite's.
_PLACES = tuple(map(attrgetter, ("data", "physics.data.ptr", "_env.physics.data.ptr", "sim.data._data")))
_RESETTING = ("BADQPOS", "BADQVEL", "BADQACC")  # warnings after which MuJoCo resets the state


class Health(gym.Wrapper[Any, Any, Any, Any]):
    """Raises SimulatorError after a step or a reset in which the simulation went wrong; belongs right around
    `gym.make`, where no other wrapper has added up or judged what a step gave.

    It keeps nothing between steps, so that there is nothing to restore.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Raises SimulatorError where MuJoCo warns during the reset."""
        if data := data_of(self.env):
            data.warning.number[:] = 0  # not every environment's reset does that
        result = self.env.reset(seed=seed, options=options)
        if data := data_of(self.env):
            _check(data)
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Raises SimulatorError for a new warning of MuJoCo, and for a clock or a reward that cannot be,
        and UserError for a reward that is no number."""
        before = data_of(self.env)
        before_s = before.time if before else 0.0
        result = self.env.step(action)
        if data := data_of(self.env):
            _check(data)
            if data is before and data.time < before_s:  # a model that was built anew begins at 0
                raise SimulatorError(f"the simulation's clock went back within a step: {before_s:g} to {data.time:g} s")
        rewarded(result[1])
        return result


def data_of(env: gym.Env[Any, Any]) -> mujoco.MjData | None:
    """The data of the MuJoCo simulation behind an environment, as it has it now; None without one."""
    for place in _PLACES:
        try:
            data = place(env.unwrapped)
        except AttributeError:
            continue
        if isinstance(data, mujoco.MjData):
            return data
    return None


def _check(data: mujoco.MjData) -> None:
    """Raises SimulatorError for what MuJoCo has warned of since the last reset, and for a clock that is not finite."""
    if causes := _warnings(data):
        raise SimulatorError("; ".join(causes))
    if not isfinite(data.time):
        raise SimulatorError(f"the simulation's clock is at {data.time} s")


def _warnings(data: mujoco.MjData) -> Sequence[str]:
    causes, resets = [], not data.model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_AUTORESET
    for kind in data.warning.number.nonzero()[0]:
        name = mujoco.mjtWarning(kind).name.removeprefix("mjWARN_")
        text = mujoco.mju_warningText(int(kind), int(data.warning.lastinfo[kind]))
        silently = " MuJoCo reset the state by itself." if resets and name in _RESETTING else ""
        causes.append(f"MuJoCo warned of {name}: {text}{silently}")
    return causes
