"""Place: put the named object on the named pad, with another object and another pad on the table."""

import numpy as np

from envs.suites.tabletop.grasp import GraspEnv
from envs.suites.tabletop.language.grasping import PLACE
from envs.suites.tabletop.scene import OPEN, PAD_HALF_SIZE, PADS

SUCCESS_RADIUS = PAD_HALF_SIZE  # [m] object to pad, in the plane
LYING = 0.004  # [m] the object's height at most
WIDE = OPEN - 0.005  # [m] the fingers' opening at least
HORIZON = 26  # steps; the farthest way needs 16


class Place(GraspEnv):
    language = PLACE

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
