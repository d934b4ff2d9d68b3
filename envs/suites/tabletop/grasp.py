"""What the tasks of the gripper with two fingers share: how it acts, what it senses of itself, how things are drawn."""

from typing import ClassVar

import numpy as np

from envs.suites.tabletop.env import MAX_STEP, TabletopEnv
from envs.suites.tabletop.language.base import HEIGHTS
from envs.suites.tabletop.language.grasping import GraspLanguage, GraspThought, Hand, PlaceEnding, action_of
from envs.suites.tabletop.scene import OPEN, REACH, TOP, GraspScene, Scene
from envs.suites.tabletop.words import BIN_WIDTH, binned

CLEARANCE = 0.15  # [m] between the things of a fresh scene: an open finger goes down between two objects
START_DISTANCE = 0.15  # [m] gripper to goal at least, at the start
DRAWN = 0.17  # [m] things lie this far from the middle at most: the open fingers stay in the picture
LOW, HIGH = 0.015, 0.045  # [m] up to here the fingers reach around an object; from here on they clear it
BETWEEN = 0.012  # [m] closing fingers that stay this far from the middle have something between them
AROUND = 0.02  # [m] a held object's middle is this far from the fingers' at most: a prism is centred by its sides


class GraspEnv(TabletopEnv):
    """A gripper that moves in space and grasps with two opposed fingers, by friction alone.

    Action: (4,) float32 in [-1, 1], the gripper's displacement in units of MAX_STEP (right, far, up), and the fingers:
    below 0 they close, above they open, at 0 the last command holds.
    Observation: (9,) float32 [m], those of every tabletop task, then the gripper's height, the fingers' opening and the
    height of the goal object.
    """

    lift = 0.06
    reach = REACH - BIN_WIDTH / 2  # the middle of the outermost bin
    scene_type: ClassVar[type[Scene]] = GraspScene
    action_size = 4
    state_size = 9
    scene: GraspScene
    language: ClassVar[GraspLanguage]

    def plan(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> tuple[GraspThought, np.ndarray]:
        hand = Hand(binned(gripper), self.height_in_words(), self.fingers_in_words())
        thought = self.language.think(self.named, [places[name] for name in self.named], hand)
        return thought, action_of(thought)

    def ending(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> GraspThought | PlaceEnding:
        return self.language.ending(self.named, [places[name] for name in self.named], gripper)

    @property
    def named(self) -> list[str]:
        """What the instruction names: the object, then the pad if there is one."""
        return [self.goal, self.goal_pad] if self.goal_pad else [self.goal]

    def target(self, action: np.ndarray) -> np.ndarray:
        ctrl, fingers = self.scene.data.ctrl, np.sign(action[3])
        height = np.clip(ctrl[2] + action[2] * MAX_STEP, 0.0, TOP)
        opening = OPEN * (fingers > 0) if fingers else ctrl[3]
        return np.array([*super().target(action), height, opening, opening])

    def proprioception(self) -> str:
        return f"{super().proprioception()} {self.height_in_words()} {self.fingers_in_words()}"

    def height_in_words(self) -> str:
        return HEIGHTS[int(self.scene.raised >= LOW) + int(self.scene.raised >= HIGH)]

    def fingers_in_words(self) -> str:
        if not self.scene.is_closing:
            return "open"
        return "holding" if self.scene.opening > BETWEEN else "closed"

    def gap(self) -> float:
        """How far the fingers are from around the goal object [m]."""
        across = self.scene.places()[self.goal] - self.scene.gripper
        off = np.linalg.norm([*across, self.scene.height(self.goal) - self.scene.raised])
        return max(0.0, float(off) - AROUND)

    def _state(self) -> np.ndarray:
        own = [self.scene.raised, self.scene.opening, self.scene.height(self.goal)]
        return np.concatenate([super()._state(), own]).astype(np.float32)

    def draw_apart(self, n: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Where the gripper starts, (2,) [m], and n things lie, the first of them the goal.

        The gripper starts in the middle of a bin, and so stays in the middle of bins as long as it moves by whole ones.
        """
        while True:
            gripper, *places = (self.draw_place(DRAWN) for _ in range(1 + n))
            apart = min(np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i])
            if apart > CLEARANCE and np.linalg.norm(gripper - places[0]) > START_DISTANCE:
                return binned(gripper), places
