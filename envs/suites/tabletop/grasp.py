"""What the tasks of the gripper with two fingers share: how it acts, what it knows of itself, the phases of a grasp."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.suites.tabletop.env import MAX_STEP, TabletopEnv, step_towards
from envs.suites.tabletop.scene import OPEN, REACH, TOP, GraspScene, Scene
from envs.suites.tabletop.words import BIN_WIDTH, binned, from_bins, say, say_way, to_bins

CLEARANCE = 0.15  # [m] between the things of a fresh scene: an open finger goes down between two objects
START_DISTANCE = 0.15  # [m] gripper to goal at least, at the start
DRAWN = 0.17  # [m] things lie this far from the middle at most: the open fingers stay in the picture
LOW, HIGH = 0.015, 0.045  # [m] up to here the fingers reach around an object; from here on they clear it
BETWEEN = 0.012  # [m] closing fingers that stay this far from the middle have something between them
AROUND = 0.02  # [m] a held object's middle is this far from the fingers' at most: a prism is centred by its sides

# What is seen is a bin off now and then: the gripper goes down when it is near, and what it began it goes on with.
NEAR, STILL_NEAR, HELD = 1, 2, 3  # bins, along each axis

HEIGHTS = ("low", "mid", "high")
FINGERS = ("open", "holding", "closed")
PHASES = {  # (right, far, up, fingers), but that on the way down it also goes on to its waypoint
    "down": (0.0, 0.0, -1.0, 0.0),
    "close": (0.0, 0.0, 0.0, -1.0),
    "up": (0.0, 0.0, 1.0, 0.0),
    "open": (0.0, 0.0, 0.0, 1.0),
}


@dataclass(frozen=True)
class Hand:
    """The gripper as its proprioception tells of it."""

    place: np.ndarray  # (2,) [m], binned
    height: str  # of HEIGHTS
    fingers: str  # of FINGERS

    @classmethod
    def read(cls, proprioception: str) -> "Hand":
        """`gripper 12 20 high open` -> the hand."""
        _, column, row, height, fingers = proprioception.split()
        return cls(from_bins(int(column), int(row)), height, fingers)

    def bins_to(self, place: np.ndarray) -> int:
        """How far (2,) [m] is, along the axis on which it is farther."""
        return max(abs(a - b) for a, b in zip(to_bins(self.place), to_bins(place), strict=True))

    def holds(self, place: np.ndarray) -> bool:
        """Whether it is what lies at (2,) [m] that it holds."""
        return self.fingers == "holding" and self.bins_to(place) <= HELD

    def over(self, place: np.ndarray, then: str) -> str:
        """The phase on the way to `then`, low over (2,) [m]; none while the gripper moves there."""
        if self.bins_to(place) > (NEAR if self.height == "high" else STILL_NEAR):
            return "" if self.height == "high" else "up"
        return then if self.height == "low" else "down"

    def fetch(self, place: np.ndarray) -> str:
        """The phase on the way to hold what lies at (2,) [m]."""
        return self.over(place, "close") if self.fingers == "open" else "open"

    def heading(self, place: np.ndarray, phase: str) -> str:
        """Over (2,) [m], and the phase if there is one, in words: `over 12 20 +0 +0; down`."""
        words = f"{say('over', place)} {say_way(self.place, place)}"
        return f"{words}; {phase}" if phase else words


def called_for(thought: str) -> np.ndarray:
    """The action (4,) that a thought calls for: its phase, or as far towards its waypoint as one step goes."""
    over, _, phase = thought[thought.index("over ") :].partition("; ")
    action = np.array(PHASES.get(phase, np.zeros(4)), np.float32)
    if phase in ("", "down"):
        action[:2] = step_towards(np.zeros(2), np.array(over.split()[-2:], int) * BIN_WIDTH)
    return action


class GraspEnv(TabletopEnv):
    """A gripper that moves in space and grasps with two opposed fingers, by friction alone.

    Action: (4,) float32 in [-1, 1], the gripper's displacement in units of MAX_STEP (right, far, up), and the fingers:
    below 0 they close, above they open, at 0 they stay as they are told.
    Observation: (9,) float32 [m], those of every tabletop task, then the gripper's height, the fingers' opening and the
    height of the goal object.
    """

    lift = 0.06
    reach = REACH - BIN_WIDTH / 2  # the middle of the outermost bin
    scene_type: ClassVar[type[Scene]] = GraspScene
    action_size = 4
    state_size = 9
    scene: GraspScene

    @abstractmethod
    def next(self, hand: Hand, places: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
        """Where an ideal gripper heads, (2,) [m], and its phase, given (2,) [m] places."""

    def plan(self, gripper: np.ndarray, places: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
        hand = Hand(binned(gripper), self.height_in_words(), self.fingers_in_words())
        words = hand.heading(*self.next(hand, places))
        return words, called_for(words)

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
