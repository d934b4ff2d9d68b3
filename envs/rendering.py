"""Camera -> (height, width, 3) uint8, without a screen, by a profile that a CPU can afford.

Shadows, reflections, the skybox and multisampling cost more than all geometry at 64 pixels; they are off.
"""

import atexit
import copy
import gc
import hashlib
import importlib.util
import os
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from envs.errors import SimulatorError, UserError

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
    from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer  # noqa: F401 (imports mujoco too)
except (ImportError, AttributeError, RuntimeError) as error:
    backend, said = os.environ.get("MUJOCO_GL"), str(error).rstrip(".")
    raise UserError(f"MuJoCo cannot use MUJOCO_GL={backend!r}: {said}. {GL_HELP}") from error

MAX_GEOMS = 1000  # of a scene's buffer, beyond those of the model
CATENARY = 32  # geoms that draw one tendon that hangs, at most (mjNCATENARY)
IDLE = 4  # renderers that are kept for the next environment of their kind, though no model is left that they draw
MANY = 8  # renderers; before there are more, garbage is collected, which may hold models
SLICES, STACKS = 8, 4  # around and along a capsule, in a picture of at most 64 px
EDGE = 8  # [px] of a larger picture for each further slice
PLANE_SPACING = 40.0  # [m] of the lines along which a plane is cut for drawing
FEW_VERTICES = 100  # of a mesh that is drawn as it is
UNLIT = tuple(getattr(mujoco.mjtRndFlag, f"mjRND_{name}") for name in ("SHADOW", "REFLECTION", "SKYBOX"))


class Renderer:
    """Renders a model, and every model with the same meshes and textures, through their named cameras.

    A GL context takes a quarter of a second to make, so environments of one kind share one: `mujoco.Renderer` is bound
    to a single model, which is why this stands on MuJoCo's own rendering calls instead.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int):
        """Raises UserError, saying what to install, where no GL context can be made."""
        model.vis.quality.offsamples = 0  # read when the context is made
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        try:
            self._gl = _context(width, height)
            drawn = coarsened(model, height // 4)
            drawn.vis.quality.shadowsize = 0  # else a map of 4096 x 4096 depths, 64 MB, for shadows that are off
            self._context = mujoco.MjrContext(drawn, mujoco.mjtFontScale.mjFONTSCALE_50)
        except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
            backend, said = os.environ.get("MUJOCO_GL"), str(error).rstrip(".")
            raise UserError(f"no GL context with MUJOCO_GL={backend!r}: {said}. {GL_HELP}") from error
        atexit.register(self.close)  # before the interpreter takes EGL apart, which prints errors
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = _scene_of(model)
        self._everyday, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._viewport = mujoco.MjrRect(0, 0, width, height)

    def render(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: str | mujoco.MjvCamera,
        option: mujoco.MjvOption | None = None,
    ) -> np.ndarray:
        """A fresh (height, width, 3) uint8 picture of `data` through a named or a free camera. option: what is drawn of
        it, where that is not MuJoCo's default.

        Raises SimulatorError where something had no room in the scene's buffer: it would be missing in the picture.
        """
        self._gl.make_current()
        if self._scene.maxgeom < geoms_of(model):
            self._scene = _scene_of(model)
        if isinstance(camera, str):
            self._camera.fixedcamid = model.camera(camera).id
            camera = self._camera
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, option or self._everyday, None, camera, everything, self._scene)
        if self._scene.ngeom >= self._scene.maxgeom:
            raise SimulatorError(f"the buffer of {self._scene.maxgeom} geoms is full: the picture lacks some")
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        picture = np.empty((self._viewport.height, self._viewport.width, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, self._viewport, self._context)
        return np.ascontiguousarray(picture[::-1])  # GL counts rows from below

    def pixels(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: str | mujoco.MjvCamera,
        option: mujoco.MjvOption | None = None,
    ) -> dict[tuple[int, int], int]:
        """(mjtObj, id) of each geom and site that the picture shows -> its pixels, by MuJoCo's segmentation.

        Raises SimulatorError as `render` does.
        """
        flags = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]
        self._scene.flags[flags] = True
        try:
            colours = self.render(model, data, camera, option).astype(int) @ (1, 256, 65536)
            drawn = {geom.segid + 1: (geom.objtype, geom.objid) for geom in self._scene.geoms[: self._scene.ngeom]}
        finally:
            self._scene.flags[flags] = False
        shown = zip(*np.unique(colours, return_counts=True), strict=True)
        return {drawn[colour]: int(n) for colour, n in shown if colour in drawn}

    def close(self) -> None:
        atexit.unregister(self.close)
        self._gl.make_current()  # else what is freed is another context's, by the same numbers
        self._context.free()
        self._gl.free()


def _context(width: int, height: int) -> Any:
    """A GL context that is the current one. Raises what MuJoCo raises without one."""
    context = mujoco.GLContext.__new__(mujoco.GLContext)
    context._context = None  # else `__del__` of a context that could not be made prints a traceback
    context.__init__(width, height)
    context.make_current()
    return context


def geoms_of(model: mujoco.MjModel) -> int:
    """Room for all geoms that MuJoCo draws of a model: its own, sites, tendons, rangefinders, skins and flexes."""
    drawn = model.ngeom + model.nsite + model.nwrap + model.nsensor + model.nskin + model.nflex
    return MAX_GEOMS + 2 * drawn + CATENARY * model.ntendon


def _scene_of(model: mujoco.MjModel) -> mujoco.MjvScene:
    scene = mujoco.MjvScene(model, geoms_of(model))
    for flag in UNLIT:
        scene.flags[flag] = False
    return scene


def simplify(model: mujoco.MjModel, size: int) -> None:
    """Draws with fewer triangles, invisible in a picture of `size` [px]: round shapes with few sides (8 at 64 px), a
    plane in one piece.

    Physics does not change: it uses exact primitives, and ignores a plane's third size.
    """
    quality = model.vis.quality
    slices, stacks = max(SLICES, size // EDGE), max(STACKS, size // EDGE // 2)
    quality.numslices, quality.numstacks = min(quality.numslices, slices), min(quality.numstacks, stacks)
    model.geom_size[model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE, 2] = PLANE_SPACING


def coarsened(model: mujoco.MjModel, n: int) -> mujoco.MjModel:
    """A copy for drawing, its fine meshes reduced to at most `n` vertices along each side: their triangles are
    otherwise smaller than a pixel, and cost most of the time.

    Vertex clustering (Rossignac and Borrel, 1993), where the vertices of a cell of a grid become one of them. Of the
    triangles with the same corners one is kept for each side: the walls of a bowl, thinner than a cell, have two, and
    GL draws a triangle from the side alone from which its corners go round counterclockwise.
    """
    coarse = copy.deepcopy(model)
    for mesh in range(model.nmesh):
        first = model.mesh_faceadr[mesh]
        faces = slice(first, first + model.mesh_facenum[mesh])
        begin = model.mesh_vertadr[mesh]
        vertices = model.mesh_vert[begin : begin + model.mesh_vertnum[mesh]]
        if len(vertices) <= FEW_VERTICES:
            continue
        low, side = vertices.min(axis=0), np.ptp(vertices, axis=0).max() / n
        _, kept, cell = np.unique((vertices - low) // side, axis=0, return_index=True, return_inverse=True)
        corners = kept[cell.ravel()][model.mesh_face[faces]]
        a, b, c = corners.T
        whole = np.flatnonzero((a != b) & (b != c) & (c != a))
        first_corner = np.argmin(corners[whole], axis=1)[:, None]
        from_least = np.take_along_axis(corners[whole], (first_corner + np.arange(3)) % 3, axis=1)
        _, once = np.unique(from_least, axis=0, return_index=True)
        chosen = whole[np.sort(once)]
        some = slice(first, first + len(chosen))
        coarse.mesh_face[some] = corners[chosen]
        for name in ("mesh_facenormal", "mesh_facetexcoord"):
            getattr(coarse, name)[some] = getattr(model, name)[faces][chosen]
        coarse.mesh_facenum[mesh] = len(chosen)
    return coarse


_renderers: dict[tuple[int, bytes], Renderer] = {}  # the one that was used last comes last
_held: WeakKeyDictionary[mujoco.MjModel, bytes] = WeakKeyDictionary()


def renderer_for(model: mujoco.MjModel, size: int) -> Renderer:
    """One for all models of this process with the same meshes and textures, which are what a GL context holds.

    A renderer is closed after the last of its models is gone, but for the IDLE that were used last: a simulator that
    builds its model anew at each reset, with other textures, would otherwise leave a GL context behind each time.
    """
    if model not in _held:
        _held[model] = _uploaded(model)
    key = size, _held[model]
    if key not in _renderers:
        _close_unused()
        _renderers[key] = Renderer(model, size, size)
    _renderers[key] = _renderers.pop(key)
    return _renderers[key]


def _uploaded(model: mujoco.MjModel) -> bytes:
    """A hash of what a GL context holds of a model: meshes, textures, height fields, the shapes of its planes, and how
    finely round shapes are drawn."""
    planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE  # a list for each, in their order
    of_planes = model.geom_size[planes], model.geom_matid[planes], model.mat_texrepeat, model.mat_texuniform
    arrays = (model.mesh_vert, model.mesh_face, model.tex_data, model.hfield_data, *of_planes)
    endless = (model.geom_size[planes, :2] <= 0).any()
    horizon, quality = model.vis.map.zfar * model.stat.extent * endless, model.vis.quality
    sizes = [*model.tex_height, *model.tex_width, *model.hfield_size.flat, model.nskinvert, model.nflexvert]
    sizes += [horizon, quality.numslices, quality.numstacks, quality.numquads]
    digest = hashlib.blake2b(b"".join(array.tobytes() for array in arrays))
    digest.update(np.array(sizes, np.float64).tobytes())
    return digest.digest()


def _close_unused() -> None:
    if len(_renderers) >= MANY:
        gc.collect()
    used = set(_held.values())
    unused = [key for key in _renderers if key[1] not in used]
    for key in unused[: max(0, len(unused) - IDLE)]:
        _renderers.pop(key).close()
