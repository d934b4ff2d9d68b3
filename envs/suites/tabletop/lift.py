"""Lift: grasp the named object, among others, and raise it off the table."""

from envs.suites.tabletop.grasp import GraspEnv
from envs.suites.tabletop.language.grasping import LIFT

LIFTED = 0.05  # [m] the object's bottom over the table; another object is 4 cm high
HORIZON = 16  # steps; the farthest goal needs 9


class Lift(GraspEnv):
    language = LIFT

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
