"""Place: put the named object on the named pad, with another object and another pad on the table."""

import numpy as np

from envs.suites.tabletop.grasp import GraspEnv, Hand
from envs.suites.tabletop.scene import OPEN, PAD_HALF_SIZE, PADS
from envs.suites.tabletop.words import BIN_WIDTH, say, say_way

SUCCESS_RADIUS = PAD_HALF_SIZE  # [m] object to pad, in the plane
LYING = 0.004  # [m] the object's height at most
WIDE = OPEN - 0.005  # [m] the fingers' opening at least
HORIZON = 26  # steps; the farthest way needs 16


class Place(GraspEnv):
    def draw(self, clutter: bool, alike: bool) -> None:
        names = self.draw_objects(2, alike)
        pads = [str(name) for name in self.np_random.choice(PADS, 2, replace=False)]
        gripper, (obj, pad, other, other_pad) = self.draw_apart(4)
        objects, targets = [(names[0], obj), (names[1], other)], [(pads[0], pad), (pads[1], other_pad)]
        self.arrange_with_pads(gripper, objects, targets, clutter)

    def distance(self) -> float:
        gap, places = self.gap(), self.scene.places()
        carried = places[self.goal] if gap else self.scene.gripper  # closing fingers shift it: no loss and no gain
        return gap + float(np.linalg.norm(carried - places[self.goal_pad]))

    def success(self) -> bool:
        places = self.scene.places()
        is_on_pad = bool(np.linalg.norm(places[self.goal] - places[self.goal_pad]) < SUCCESS_RADIUS)
        lies_free = abs(self.scene.height(self.goal)) < LYING and not self.scene.touching(self.goal)
        return is_on_pad and lies_free and self.scene.opening > WIDE

    @property
    def instruction(self) -> str:
        return f"place the {self.goal} on the {self.goal_pad}"

    def sight(self, places: dict[str, np.ndarray]) -> str:
        return f"{say(self.goal, places[self.goal])}; {say(self.goal_pad, places[self.goal_pad])}"

    def ending(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> str:
        names = [self.goal, self.goal_pad]
        return ending(names, [places[name] for name in names], gripper)

    def next(self, hand: Hand, places: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
        return intent([places[self.goal], places[self.goal_pad]], hand)


def intent(places: list[np.ndarray], hand: Hand) -> tuple[np.ndarray, str]:
    """Where to head, (2,) [m], and in which phase, with object and pad at (2,) [m]."""
    obj, pad = places
    if hand.holds(obj):
        return pad, hand.over(pad, "open")
    if hand.fingers == "open" and np.linalg.norm(obj - pad) < SUCCESS_RADIUS - BIN_WIDTH:
        return obj, "up"  # it lies there: let go of it
    return obj, hand.fetch(obj)


def ending(names: list[str], places: list[np.ndarray], gripper: np.ndarray) -> str:
    """What matters of an end, in words."""
    obj, pad = places
    return f"{say(names[0], obj)}; {say(names[1], pad)} {say_way(obj, pad)}"
