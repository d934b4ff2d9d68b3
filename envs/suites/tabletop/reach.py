"""Reach: bring the gripper over the named object, among others."""

import numpy as np

from envs.suites.tabletop.env import TabletopEnv, step_towards
from envs.suites.tabletop.language.planar import REACH, ReachThought

SUCCESS_RADIUS = 0.03  # [m] gripper to object, in the plane
CLEARANCE = 0.10  # [m] between the things of a fresh scene
START_DISTANCE = 0.15  # [m] gripper to goal at least, at the start
HORIZON = 10  # steps; the farthest goal is 7 away


class Reach(TabletopEnv):
    language = REACH
    lift = 0.06  # over the objects

    def draw(self, clutter: bool, alike: bool) -> None:
        names = self.draw_objects(3, alike)
        while True:
            gripper, *places = (self.draw_place(0.20) for _ in range(4))
            apart = min(np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i])
            if apart > CLEARANCE and np.linalg.norm(gripper - places[0]) > START_DISTANCE:
                break
        self.goal = names[0]
        order = self.np_random.permutation(3) if clutter else [0]  # the goal is not always the first slot
        self.scene.arrange(gripper, {names[i]: places[i] for i in order}, {}, self.lift)

    def distance(self) -> float:
        return float(np.linalg.norm(self.scene.gripper - self.scene.places()[self.goal]))

    def success(self) -> bool:
        return self.distance() < SUCCESS_RADIUS

    @property
    def instruction(self) -> str:
        return f"reach the {self.goal}"

    def plan(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> tuple[ReachThought, np.ndarray]:
        return self.ending(gripper, places), step_towards(gripper, places[self.goal])

    def ending(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> ReachThought:
        return REACH.over(self.goal, places[self.goal], gripper)
