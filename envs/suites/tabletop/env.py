"""What every tabletop task shares: action, observation, reward, termination. A task adds layout, success and words."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from envs.cameras import camera_of
from envs.errors import unknown
from envs.rendering import renderer_for
from envs.suites.tabletop.language.base import TabletopLanguage
from envs.suites.tabletop.scene import OBJECTS, REACH, TIMESTEP, Scene
from envs.suites.tabletop.words import say

CONTROL_DT = 0.2  # [s] one env.step
MAX_STEP = 0.06  # [m] an action of 1 moves the gripper this far along an axis in one step

# Goals that are never practised. Every colour and every shape occurs among the practised ones, so that what is held
# out is the combination, not the word.
HELDOUT_OBJECTS = ("red cylinder", "green triangle", "blue cube", "yellow cylinder", "purple triangle")
GOALS = {"practice": tuple(name for name in OBJECTS if name not in HELDOUT_OBJECTS), "heldout": HELDOUT_OBJECTS}


class TabletopEnv(gym.Env[np.ndarray, np.ndarray], ABC):
    """A gripper over a table; unless a subclass has another, a closed one that moves in the plane.

    Action: (2,) float32 in [-1, 1], the gripper's displacement in units of MAX_STEP (right, far).
    Observation: (6,) float32 [m], the positions of gripper, goal object and goal pad (zeros without one): privileged,
    for experts and state-based baselines. A multimodal policy is given `render()`, the camera's (H, W, 3) uint8.
    Reward: the decrease of `distance()` [m] in this step divided by MAX_STEP, plus 1 at success, which terminates.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": round(1 / CONTROL_DT)}
    set_by_reset: ClassVar[tuple[str, ...]] = ("scene",)  # what no step changes, beside MuJoCo's state
    language: ClassVar[TabletopLanguage]
    lift: ClassVar[float]  # [m] the gripper's height over its lowest, at the start
    reach: ClassVar[float] = REACH  # [m] the gripper goes this far from the middle along an axis
    scene_type: ClassVar[type[Scene]] = Scene
    action_size: ClassVar[int] = 2
    state_size: ClassVar[int] = 6

    def __init__(
        self,
        goals: str = "practice",
        appearance: str = "practice",
        render_mode: str | None = None,
        camera: str = "top",
        image_size: int = 64,
    ):
        """goals: which objects may be the goal, `practice` or `heldout`; appearance: one of APPEARANCES,
        a change of what is seen and of nothing else. Raises UserError for an unknown one."""
        if goals not in GOALS:
            raise unknown("goals", goals, GOALS)
        self.goals = GOALS[goals]
        self.render_mode, self.camera, self.image_size = render_mode, camera, image_size
        self.scene = self.scene_type(appearance)
        self.model, self.data = self.scene.model, self.scene.data  # as Gymnasium's own MuJoCo environments have them
        self.goal = self.goal_pad = ""
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self.action_size,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self.state_size,), np.float32)

    # a task says -------------------------------------------------------------------------------------------------
    @abstractmethod
    def draw(self, clutter: bool, alike: bool) -> None:
        """Draw goal and layout from `np_random` and arrange the scene, with `reset`'s options."""

    @abstractmethod
    def distance(self) -> float:
        """How far from success [m]."""

    @abstractmethod
    def success(self) -> bool:
        """Whether the task is done."""

    @property
    @abstractmethod
    def instruction(self) -> str:
        """The task in words."""

    @abstractmethod
    def plan(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> tuple[Any, np.ndarray]:
        """The thought of an ideal policy, parsed, and its action, given (2,) [m] places, exact or binned."""

    @abstractmethod
    def ending(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> Any:
        """What an ideal critic says of an ending, parsed, given (2,) [m] places."""

    # gymnasium ---------------------------------------------------------------------------------------------------
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Options: `clutter` (True), False to leave only what the instruction names on the table; `alike` (False), True
        to give all objects the goal's colour; `goal`, another object of the seed's scene to be the goal. Raises
        UserError for one that is not there or may not be the goal."""
        super().reset(seed=seed)
        drawn = {"clutter": True, "alike": False} | (options or {})
        goal = drawn.pop("goal", None)
        self.draw(**drawn)
        if goal is not None:
            if goal not in (self.goal, *self.other_goals()):
                raise unknown("goal", goal, (self.goal, *self.other_goals()))
            self.goal = goal
        self._distance = self.distance()
        return self._state(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Raises ValueError for an action that is not finite or not in the action space."""
        action = np.asarray(action, np.float32)
        if action.shape != (self.action_size,) or not np.all(np.abs(action) <= 1.0):
            raise ValueError(f"action {action} is not in [-1, 1]^{self.action_size}")
        self.scene.move(self.target(action), round(CONTROL_DT / TIMESTEP))
        before, self._distance = self._distance, self.distance()
        success = self.success()
        reward = (before - self._distance) / MAX_STEP + float(success)
        return self._state(), float(reward), success, False, self._info()

    def target(self, action: np.ndarray) -> np.ndarray:
        """Where an action drives the gripper's actuators, (n,) [m]."""
        return np.clip(self.scene.data.ctrl[:2] + action[:2] * MAX_STEP, -self.reach, self.reach)

    def render(self) -> np.ndarray | None:
        return self.picture(self.camera, self.image_size) if self.render_mode == "rgb_array" else None

    def picture(self, camera: str | Mapping[str, Any], size: int) -> np.ndarray:
        """(size, size, 3) uint8 through `camera`: `top` or `side`, a free one, or the policy's own where it is empty.

        Raises UserError for another.
        """
        return renderer_for(self.model, size).render(self.model, self.data, camera_of(self, camera or self.camera))

    def view(self, size: int) -> np.ndarray:
        """(size, size, 3) uint8 for people: from the side."""
        return self.picture("side", size)

    def _state(self) -> np.ndarray:
        places = self.scene.places()
        pad = places[self.goal_pad] if self.goal_pad else np.zeros(2)
        return np.concatenate([self.scene.gripper, places[self.goal], pad]).astype(np.float32)

    def _info(self) -> dict[str, Any]:
        success = self.success()
        return {"success": success, "is_success": success, "distance": self._distance}

    # words -------------------------------------------------------------------------------------------------------
    def other_goals(self) -> list[str]:
        """The other objects on the table that may be the goal."""
        return [name for name in self.scene.objects if name in self.goals and name != self.goal]

    def proprioception(self) -> str:
        return say("gripper", self.scene.gripper)

    # drawing -----------------------------------------------------------------------------------------------------
    def draw_objects(self, n: int, alike: bool) -> list[str]:
        """The goal first, then other objects, all different, or all but for their colour."""
        goal = str(self.np_random.choice(self.goals))
        colour = goal.split()[0] if alike else ""
        others = [name for name in OBJECTS if name != goal and name.startswith(colour)]
        return [goal, *(str(name) for name in self.np_random.choice(others, n - 1, replace=False))]

    def arrange_with_pads(
        self,
        gripper: np.ndarray,
        objects: Sequence[tuple[str, np.ndarray]],
        pads: Sequence[tuple[str, np.ndarray]],
        clutter: bool,
    ) -> None:
        """Two objects and two pads at their places, (2,) [m] as the gripper's; the first of each is the goal."""
        self.goal, self.goal_pad = objects[0][0], pads[0][0]
        if self.np_random.random() < 0.5 and clutter:  # the goal is not always the first slot
            objects, pads = objects[::-1], pads[::-1]
        shown = slice(None) if clutter else slice(1)
        self.scene.arrange(gripper, dict(objects[shown]), dict(pads[shown]), self.lift)

    def draw_place(self, half_extent: float) -> np.ndarray:
        return self.np_random.uniform(-half_extent, half_extent, 2)


def step_towards(gripper: np.ndarray, waypoint: np.ndarray) -> np.ndarray:
    """The action (2,) that moves to the waypoint, or on each axis as far towards it as one step goes."""
    return np.clip((waypoint - gripper) / MAX_STEP, -1.0, 1.0).astype(np.float32)
