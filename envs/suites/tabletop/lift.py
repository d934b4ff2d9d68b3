"""Lift: grasp the named object, among others, and raise it off the table."""

import numpy as np

from envs.suites.tabletop.grasp import GraspEnv, Hand
from envs.suites.tabletop.words import say, say_way

LIFTED = 0.05  # [m] the object's bottom over the table; another object is 4 cm high
HORIZON = 16  # steps; the farthest goal needs 9


class Lift(GraspEnv):
    def draw(self, clutter: bool, alike: bool) -> None:
        names = self.draw_objects(3, alike)
        gripper, places = self.draw_apart(3)
        self.goal = names[0]
        order = self.np_random.permutation(3) if clutter else [0]  # the goal is not always the first slot
        self.scene.arrange(gripper, {names[i]: places[i] for i in order}, {}, self.lift)

    def distance(self) -> float:
        return self.gap() + max(0.0, LIFTED - self.scene.height(self.goal))

    def success(self) -> bool:
        return self.scene.height(self.goal) >= LIFTED and self.scene.touching(self.goal) == 2

    @property
    def instruction(self) -> str:
        return f"lift the {self.goal}"

    def sight(self, places: dict[str, np.ndarray]) -> str:
        return say(self.goal, places[self.goal])

    def ending(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> str:
        return ending([self.goal], [places[self.goal]], gripper)

    def next(self, hand: Hand, places: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
        return intent([places[self.goal]], hand)


def intent(places: list[np.ndarray], hand: Hand) -> tuple[np.ndarray, str]:
    """Where to head, (2,) [m], and in which phase, with the object at (2,) [m]."""
    (obj,) = places
    return obj, "up" if hand.holds(obj) else hand.fetch(obj)


def ending(names: list[str], places: list[np.ndarray], gripper: np.ndarray) -> str:
    """What matters of an end, in words."""
    (name,), (obj,) = names, places
    return f"{say(name, obj)}; {say('over', obj)} {say_way(gripper, obj)}"
