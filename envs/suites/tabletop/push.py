"""Push: shove the named object onto the named pad, with another object and another pad on the table.

The pad lies to the right, left, far or near side of the object and the gripper starts behind it, so that one straight
push does it; what it takes is to line up, and to correct when the object turns or slips.
"""

import numpy as np

from envs.suites.tabletop.env import MAX_STEP, TabletopEnv, step_towards
from envs.suites.tabletop.language.planar import BEHIND, PUSH, PushEnding, PushThought, behind
from envs.suites.tabletop.scene import PAD_HALF_SIZE, PADS
from envs.suites.tabletop.words import BIN_WIDTH, DIRECTIONS, binned, direction

SUCCESS_RADIUS = PAD_HALF_SIZE  # [m] object to pad, in the plane
CLEARANCE = 0.10  # [m] between the things of a fresh scene
PATH_CLEARANCE = 0.09  # [m] between the other object and the goal object's way
PUSH_DISTANCE = (0.12, 0.24)  # [m] object to pad at the start, straight ahead
ASKEW = 0.015  # [m] at most, off straight ahead
HORIZON = 16  # steps; the expert needs about 6

PAST = 0.05  # [m] beyond where a push begins, it can still begin


class Push(TabletopEnv):
    language = PUSH
    lift = 0.0

    def draw(self, clutter: bool, alike: bool) -> None:
        names = self.draw_objects(2, alike)
        pads = [str(name) for name in self.np_random.choice(PADS, 2, replace=False)]
        ahead = np.array(DIRECTIONS[str(self.np_random.choice(list(DIRECTIONS)))])
        side = ahead[::-1]
        while True:
            obj = self.draw_place(0.14)
            pad = obj + ahead * self.np_random.uniform(*PUSH_DISTANCE) + side * self.np_random.uniform(-ASKEW, ASKEW)
            other, other_pad, gripper = (self.draw_place(0.19) for _ in range(3))
            things = [obj, other, pad, other_pad]
            apart = min(np.linalg.norm(a - b) for i, a in enumerate(things) for b in things[:i])
            starts_free = min(np.linalg.norm(gripper - obj), np.linalg.norm(gripper - other)) > CLEARANCE
            starts_behind = (gripper - obj) @ ahead < -BEHIND
            way = np.linspace(obj - BEHIND * ahead, pad, 12)
            way_free = np.linalg.norm(way - other, axis=1).min() > PATH_CLEARANCE
            on_table = np.abs(pad).max() < 0.19
            if apart > CLEARANCE and starts_free and starts_behind and way_free and on_table:
                break
        objects, targets = [(names[0], obj), (names[1], other)], [(pads[0], pad), (pads[1], other_pad)]
        self.arrange_with_pads(gripper, objects, targets, clutter)

    def distance(self) -> float:
        places = self.scene.places()
        return float(np.linalg.norm(places[self.goal] - places[self.goal_pad]))

    def success(self) -> bool:
        return self.distance() < SUCCESS_RADIUS

    @property
    def instruction(self) -> str:
        return f"push the {self.goal} to the {self.goal_pad}"

    def plan(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> tuple[PushThought, np.ndarray]:
        obj, pad = places[self.goal], places[self.goal_pad]
        begin, ahead = binned(behind(obj, pad)), np.array(DIRECTIONS[direction(obj, pad)])
        way = begin - gripper
        through = bool(way @ ahead > -PAST and abs(way @ ahead[::-1]) < BIN_WIDTH / 2)
        thought = PUSH.line_up(self.goal, obj, self.goal_pad, pad, gripper, through)
        return thought, step_towards(gripper, gripper + MAX_STEP * ahead if through else begin)

    def ending(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> PushEnding:
        return PUSH.ending(self.goal, places[self.goal], self.goal_pad, places[self.goal_pad])
