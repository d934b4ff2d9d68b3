"""Camera -> (height, width, 3) uint8, without a screen, by a profile that a CPU can afford.

Shadows, reflections, the skybox and multisampling cost more than all geometry at 64 pixels; they are off.
"""

import atexit
import importlib.util
import os

import numpy as np

from envs.errors import UserError

GL_HELP = (
    "On Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri (software EGL, no GPU or screen needed). "
    "MUJOCO_GL chooses the backend: egl, osmesa or glfw"
)

# Mesa's software EGL and triton each bring an LLVM. Triton loaded after a GL context exists ends the process with
# a segmentation fault, and torch and xgrammar load it late; loaded first, both work. This is the one place.
if importlib.util.find_spec("triton"):
    import triton  # noqa: F401

try:
    import mujoco
    from mujoco import Renderer as MujocoRenderer
except (ImportError, AttributeError, RuntimeError) as error:
    raise UserError(f"MuJoCo cannot use MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}: {error}. {GL_HELP}") from error


class Renderer:
    """Renders one MuJoCo model through its named cameras. Close it: a GL context is not garbage-collected well."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int):
        """Raises UserError, saying what to install, where no GL context can be made."""
        model.vis.quality.offsamples = 0  # read when the context is made
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        try:
            self._renderer = MujocoRenderer(model, height, width)
        except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
            backend = os.environ.get("MUJOCO_GL")
            raise UserError(f"no GL context with MUJOCO_GL={backend!r}: {error}. {GL_HELP}") from error
        atexit.register(self.close)  # before the interpreter takes EGL apart, which prints errors
        flags = self._renderer.scene.flags
        for flag in (
            mujoco.mjtRndFlag.mjRND_SHADOW,
            mujoco.mjtRndFlag.mjRND_REFLECTION,
            mujoco.mjtRndFlag.mjRND_SKYBOX,
        ):
            flags[flag] = False

    def render(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """A fresh (height, width, 3) uint8 picture of `data` through `camera`."""
        self._renderer.update_scene(data, camera)
        return self._renderer.render()

    def close(self) -> None:
        atexit.unregister(self.close)
        self._renderer.close()
