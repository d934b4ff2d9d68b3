"""Thoughts of a gripper with two fingers: to lift an object, to place it on a pad.

What is corrected after a success is so from the policy's own words and its proprioception alone, as in `planar`. The
phase of a grasp follows from what is seen and from the proprioception, so it is recomputed with the waypoint.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from envs.language import matched
from envs.suites.tabletop.language.base import (
    AS_BINS,
    CLOSE,
    GRID,
    HEADING,
    OBJECT,
    OFFSET,
    PAD,
    PHASE,
    TabletopLanguage,
    Thing,
    parse_bin,
    parse_thing,
)
from envs.suites.tabletop.language.planar import along
from envs.suites.tabletop.scene import PAD_HALF_SIZE
from envs.suites.tabletop.words import BIN_WIDTH, Bin, from_bins, say_bin, say_way, to_bins

# What is seen is a bin off now and then: the gripper goes down when it is near, and what it began it goes on with.
NEAR, STILL_NEAR, HELD = 1, 2, 3  # bins, along each axis
ON_PAD = PAD_HALF_SIZE - BIN_WIDTH  # [m] object to pad, where it lies there for certain
HAND = (
    *GRID,
    "`gripper` is the place of the gripper, then its height (`low` around an object, `high` over all objects) and what "
    "its fingers do.",
)
PHASES_MEAN = (
    "A phase follows, but on the way at full height: `down` to lower the gripper there, `close` to shut its fingers, "
    "`up` to raise it, `open` to let go."
)
MOVE = (
    f"The action moves the gripper: first to the right (+), then away from you (+), then up (+); {AS_BINS}, or 1.5 cm. "
    "Its last number opens the fingers (+), closes them (-), or leaves them (+0)."
)
PHASE_ACTIONS = {  # (right, far, up, fingers), but that on the way down it also goes on to its waypoint
    "down": (0.0, 0.0, -1.0, 0.0),
    "close": (0.0, 0.0, 0.0, -1.0),
    "up": (0.0, 0.0, 1.0, 0.0),
    "open": (0.0, 0.0, 0.0, 1.0),
}


@dataclass(frozen=True)
class Hand:
    """The gripper as its proprioception says it."""

    place: np.ndarray  # (2,) [m], the centre of a bin
    height: str  # of HEIGHTS
    fingers: str  # of FINGERS

    @classmethod
    def parse(cls, proprioception: str) -> "Hand":
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


@dataclass(frozen=True)
class GraspThought:
    """`red cube 20 9; green pad 5 9; over 20 9 +1 +0; down`.

    things: the object, then the pad if there is one. offset: from the gripper to the waypoint, as it is said. phase:
    of PHASES, or none.
    """

    things: tuple[Thing, ...]
    waypoint: Bin
    offset: str
    phase: str = ""


@dataclass(frozen=True)
class PlaceEnding:
    """`red cube 16 9; green pad 16 9 +0 +0`. offset: from the object to the pad, as it is said."""

    things: tuple[Thing, ...]
    offset: str


class GraspLanguage(TabletopLanguage, ABC):
    """Waypoint and phase follow from the things and the hand."""

    n_things: ClassVar[int]

    @abstractmethod
    def intent(self, places: Sequence[np.ndarray], hand: Hand) -> tuple[np.ndarray, str]:
        """Where to head, (2,) [m], and in which phase, with the things at (2,) [m]."""

    @abstractmethod
    def ending(
        self, names: Sequence[str], places: Sequence[np.ndarray], gripper: np.ndarray
    ) -> GraspThought | PlaceEnding:
        """The words for an ending that follow from things and gripper at (2,) [m]."""

    def think(self, names: Sequence[str], places: Sequence[np.ndarray], hand: Hand) -> GraspThought:
        """The thought that follows from the things, at (2,) [m], and the hand."""
        waypoint, phase = self.intent(places, hand)
        return GraspThought(_binned(names, places), to_bins(waypoint), say_way(hand.place, waypoint), phase)

    def parse(self, thought: str) -> GraspThought:
        parts = [part.split() for part in matched(self.thought_regex, thought).split("; ")]
        things, (heading, *phase) = parts[: self.n_things], parts[self.n_things :]
        waypoint, offset = parse_bin(heading[1:]), " ".join(heading[3:])
        return GraspThought(tuple(map(parse_thing, things)), waypoint, offset, phase[0][0] if phase else "")

    def say(self, parsed: GraspThought) -> str:
        heading = f"{say_bin('over', parsed.waypoint)} {parsed.offset}"
        phase = [parsed.phase] if parsed.phase else []
        return "; ".join([*(say_bin(*thing) for thing in parsed.things), heading, *phase])

    def derive(self, thought: str, proprioception: str) -> str:
        return self.say(self.think(*_seen(self.parse(thought).things), Hand.parse(proprioception)))

    def called_for(self, thought: str, proprioception: str) -> np.ndarray:
        """(4,): the action of the phase, or as far towards the waypoint as one step goes."""
        return action_of(self.parse(thought))

    def relabel(
        self,
        thoughts: Sequence[str],
        proprioception: Sequence[str],
        rewards: Sequence[float],
        actions: Sequence[np.ndarray],
    ) -> list[str]:
        """What was held last was the object: it lay where the fingers closed on it, went with them, and stayed where
        they opened. A pad lies where most steps saw it. Without anything held, nothing is proven."""
        hands = [Hand.parse(words) for words in proprioception]
        holding = [hand.fingers == "holding" for hand in hands]
        if not any(holding):
            return list(thoughts)
        last = max(i for i, held in enumerate(holding) if held)
        first = max((i + 1 for i in range(last) if not holding[i]), default=0)
        seen = [_seen(self.parse(thought).things) for thought in thoughts]
        pad = np.median([places[1:] for _, places in seen], axis=0)  # (1, 2), or nothing
        corrected = []
        for i, (names, places) in enumerate(seen):
            proven = [hands[min(max(i, first), last)].place, *pad]
            places = [_kept(*both) for both in zip(places, proven, strict=True)]
            corrected.append(self.say(self.think(names, places, hands[i])))
        return corrected

    def conclude(self, thought: str, proprioception: str, success: bool) -> str:
        """A success ended at the gripper."""
        (names, (obj, *pad)), hand = _seen(self.parse(thought).things), Hand.parse(proprioception)
        places = [_kept(obj, hand.place) if success else obj, *pad]
        return self.say_ending(self.ending(names, places, hand.place))

    def derive_ending(self, words: str, proprioception: str) -> str:
        hand = Hand.parse(proprioception)
        return self.say_ending(self.ending(*_seen(self.parse_ending(words).things), hand.place))


class LiftLanguage(GraspLanguage):
    """An ending is a thought without a phase."""

    thought_regex = f"{OBJECT}; over {HEADING}{PHASE}"
    ending_regex = f"{OBJECT}; over {HEADING}"
    names_goal = True
    n_things = 1
    legend = (
        *HAND,
        "Before the action, say the object that the task names and its place, then after `over` that place again and "
        "the way there from the gripper.",
        PHASES_MEAN,
        MOVE,
    )

    def intent(self, places: Sequence[np.ndarray], hand: Hand) -> tuple[np.ndarray, str]:
        (obj,) = places
        return obj, "up" if hand.holds(obj) else hand.fetch(obj)

    def ending(self, names: Sequence[str], places: Sequence[np.ndarray], gripper: np.ndarray) -> GraspThought:
        (obj,) = places
        return GraspThought(_binned(names, places), to_bins(obj), say_way(gripper, obj))

    def parse_ending(self, words: str) -> GraspThought:
        return self.parse(matched(self.ending_regex, words, "ending"))

    def about(self, thought: str, goal: str) -> str:
        parsed = self.parse(thought)
        return self.say(replace(parsed, things=((goal, parsed.things[0][1]),)))


class PlaceLanguage(GraspLanguage):
    """An ending says how far the object is from the pad."""

    thought_regex = f"{OBJECT}; {PAD}; over {HEADING}{PHASE}"
    ending_regex = f"{OBJECT}; {PAD} {OFFSET}"
    n_things = 2
    legend = (
        *HAND,
        "Before the action, say the object and its place, the pad and its place, then after `over` the one of them to "
        "go to, the pad once the object is held, and the way there from the gripper.",
        PHASES_MEAN,
        MOVE,
        "Of an ending, the way is that from the object to the pad.",
    )

    def intent(self, places: Sequence[np.ndarray], hand: Hand) -> tuple[np.ndarray, str]:
        obj, pad = places
        if hand.holds(obj):
            return pad, hand.over(pad, "open")
        if hand.fingers == "open" and np.linalg.norm(obj - pad) < ON_PAD:
            return obj, "up"  # it lies there: let go of it
        return obj, hand.fetch(obj)

    def ending(self, names: Sequence[str], places: Sequence[np.ndarray], gripper: np.ndarray) -> PlaceEnding:
        return PlaceEnding(_binned(names, places), say_way(*places))

    def parse_ending(self, words: str) -> PlaceEnding:
        obj, pad = (part.split() for part in matched(self.ending_regex, words, "ending").split("; "))
        return PlaceEnding((parse_thing(obj), parse_thing(pad)), " ".join(pad[4:]))

    def say_ending(self, parsed: PlaceEnding) -> str:
        return f"{'; '.join(say_bin(*thing) for thing in parsed.things)} {parsed.offset}"


LIFT, PLACE = LiftLanguage(), PlaceLanguage()


def action_of(thought: GraspThought) -> np.ndarray:
    """The action (4,) that a thought calls for: of its phase, or as far towards its waypoint as one step goes."""
    action = np.array(PHASE_ACTIONS.get(thought.phase, np.zeros(4)), np.float32)
    if thought.phase in ("", "down"):
        action[:2] = along(thought.offset)
    return action


def _seen(things: Sequence[Thing]) -> tuple[list[str], list[np.ndarray]]:
    """Names, and places (2,) [m]."""
    return [name for name, _ in things], [from_bins(*place) for _, place in things]


def _binned(names: Sequence[str], places: Sequence[np.ndarray]) -> tuple[Thing, ...]:
    return tuple((name, to_bins(place)) for name, place in zip(names, places, strict=True))


def _kept(said: np.ndarray, proven: np.ndarray) -> np.ndarray:
    """The place that was said, where it is close to the proven one, both (2,) [m]; else the proven one."""
    return said if np.abs(said - proven).max() < (CLOSE + 0.5) * BIN_WIDTH else proven
