"""Thoughts of a closed gripper that moves in the plane: to reach an object, to push it to a pad.

What is corrected after a success needs no privileged knowledge, only the policy's own words, the proprioception, the
rewards, and that it succeeded (hindsight as in Andrychowicz et al., 2017, of thoughts instead of goals).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from envs.language import matched
from envs.suites.tabletop.env import step_towards
from envs.suites.tabletop.language.base import (
    AS_BINS,
    CLOSE,
    GRID,
    HEADING,
    OBJECT,
    OFFSET,
    PAD,
    SIDE,
    TabletopLanguage,
    parse_bin,
    parse_thing,
)
from envs.suites.tabletop.scene import OBJECT_RADIUS, TIP_HALF_SIZE
from envs.suites.tabletop.words import BIN_WIDTH, DIRECTIONS, Bin, direction, from_bins, say_bin, say_way, to_bins

PUSHED = 0.1  # reward above which a step shoved the object ahead, and did not only touch it
CONTACT = OBJECT_RADIUS + TIP_HALF_SIZE  # [m] tip centre to object centre when they touch
BEHIND = CONTACT + 0.025  # [m] where a push begins
PLANAR = (*GRID, "`gripper` is the place of the gripper.")
MOVE = f"The action moves the gripper: first to the right (+), then away from you (+); {AS_BINS}."


@dataclass(frozen=True)
class ReachThought:
    """`red cube 20 9; over 20 9 +8 -2`. offset: from the gripper to the waypoint, as it is said."""

    object: str
    place: Bin
    waypoint: Bin
    offset: str


class ReachLanguage(TabletopLanguage):
    """The object lies where the gripper has to go; an ending says as much as a thought."""

    thought_regex = ending_regex = f"{OBJECT}; over {HEADING}"
    names_goal = True
    legend = (
        *PLANAR,
        "Before the action, say the object that the task names and its place, then after `over` that place again and "
        "the way there from the gripper.",
        MOVE,
    )

    def over(self, name: str, place: np.ndarray, gripper: np.ndarray) -> ReachThought:
        """The thought that follows from the object and the gripper at (2,) [m]."""
        return ReachThought(name, to_bins(place), to_bins(place), say_way(gripper, place))

    def parse(self, thought: str) -> ReachThought:
        seen, heading = (part.split() for part in matched(self.thought_regex, thought).split("; "))
        return ReachThought(*parse_thing(seen), parse_bin(heading[1:]), " ".join(heading[3:]))

    def say(self, parsed: ReachThought) -> str:
        return f"{say_bin(parsed.object, parsed.place)}; {say_bin('over', parsed.waypoint)} {parsed.offset}"

    def derive(self, thought: str, proprioception: str) -> str:
        parsed = self.parse(thought)
        return self._with_place(parsed, parsed.place, proprioception)

    def called_for(self, thought: str, proprioception: str) -> np.ndarray:
        """(2,): as far towards the waypoint as one step goes."""
        return along(self.parse(thought).offset)

    def relabel(
        self,
        thoughts: Sequence[str],
        proprioception: Sequence[str],
        rewards: Sequence[float],
        actions: Sequence[np.ndarray],
    ) -> list[str]:
        """The object lies where the gripper ended."""
        proven = gripper_bin(proprioception[-1])
        parsed = map(self.parse, thoughts)
        return [
            self._with_place(thought, kept(thought.place, proven), own)
            for thought, own in zip(parsed, proprioception[:-1], strict=True)
        ]

    def about(self, thought: str, goal: str) -> str:
        return self.say(replace(self.parse(thought), object=goal))

    def conclude(self, thought: str, proprioception: str, success: bool) -> str:
        return self.derive(thought, proprioception)

    def derive_ending(self, words: str, proprioception: str) -> str:
        return self.derive(words, proprioception)

    def _with_place(self, thought: ReachThought, place: Bin, proprioception: str) -> str:
        return self.say(self.over(thought.object, from_bins(*place), from_bins(*gripper_bin(proprioception))))


@dataclass(frozen=True)
class PushThought:
    """`red cube 10 7; blue pad 11 14 far; behind 10 2 +0 -7; through`.

    side: of DIRECTIONS, where the pad lies as seen from the object. offset: from the gripper to the waypoint, as it is
    said. through: the gripper lines up behind the object, and pushes on.
    """

    object: str
    place: Bin
    pad: str
    pad_place: Bin
    side: str
    waypoint: Bin
    offset: str
    through: bool = False


@dataclass(frozen=True)
class PushEnding:
    """`red cube 10 13; blue pad 11 14 far +1 +1`. offset: from the object to the pad, as it is said."""

    object: str
    place: Bin
    pad: str
    pad_place: Bin
    side: str
    offset: str


class PushLanguage(TabletopLanguage):
    """The side and the waypoint behind the object follow from the object and the pad."""

    thought_regex = f"{OBJECT}; {PAD} {SIDE}; behind {HEADING}(; through)?"
    ending_regex = f"{OBJECT}; {PAD} {SIDE} {OFFSET}"
    legend = (
        *PLANAR,
        "Before the action, say the object and its place; the pad, its place, and on which side of the object it lies; "
        "then after `behind` the place on the object's other side from where a push begins, and the way there from the "
        "gripper. `through` is said once the gripper is there: it pushes straight on, to the pad's side.",
        MOVE,
        "Of an ending, the way is that from the object to the pad.",
    )

    def line_up(
        self, name: str, place: np.ndarray, pad: str, target: np.ndarray, gripper: np.ndarray, through: bool = False
    ) -> PushThought:
        """The thought that follows from object, pad and gripper at (2,) [m]."""
        side, start = direction(place, target), behind(place, target)
        offset = say_way(gripper, start)
        return PushThought(name, to_bins(place), pad, to_bins(target), side, to_bins(start), offset, through)

    def ending(self, name: str, place: np.ndarray, pad: str, target: np.ndarray) -> PushEnding:
        """The words for an ending that follow from object and pad at (2,) [m]."""
        side, offset = direction(place, target), say_way(place, target)
        return PushEnding(name, to_bins(place), pad, to_bins(target), side, offset)

    def parse(self, thought: str) -> PushThought:
        seen, pad, heading, *through = (part.split() for part in matched(self.thought_regex, thought).split("; "))
        waypoint, offset = parse_bin(heading[1:]), " ".join(heading[3:])
        return PushThought(*parse_thing(seen), *parse_thing(pad), pad[4], waypoint, offset, bool(through))

    def say(self, parsed: PushThought) -> str:
        heading = f"{say_bin('behind', parsed.waypoint)} {parsed.offset}{'; through' * parsed.through}"
        return f"{_say_seen(parsed)}; {heading}"

    def parse_ending(self, words: str) -> PushEnding:
        seen, pad = (part.split() for part in matched(self.ending_regex, words, "ending").split("; "))
        return PushEnding(*parse_thing(seen), *parse_thing(pad), pad[4], " ".join(pad[5:]))

    def say_ending(self, parsed: PushEnding) -> str:
        return f"{_say_seen(parsed)} {parsed.offset}"

    def derive(self, thought: str, proprioception: str) -> str:
        """Whether to go through is what the answer decides."""
        return self._derived(self.parse(thought), proprioception)

    def called_for(self, thought: str, proprioception: str) -> np.ndarray:
        """(2,): straight through, or as far towards the waypoint as one step goes."""
        parsed = self.parse(thought)
        return np.array(DIRECTIONS[parsed.side], np.float32) if parsed.through else along(parsed.offset)

    def relabel(
        self,
        thoughts: Sequence[str],
        proprioception: Sequence[str],
        rewards: Sequence[float],
        actions: Sequence[np.ndarray],
    ) -> list[str]:
        """The pad lies where most steps saw it. A `through` was said too early where that step, and the steps right
        after it that went on through, shoved nothing ahead."""
        parsed, pushed = list(map(self.parse, thoughts)), False
        for i, reward in reversed(list(enumerate(rewards))):
            pushed = parsed[i].through and (pushed or reward > PUSHED)
            parsed[i] = replace(parsed[i], through=pushed)
        proven = np.median([thought.pad_place for thought in parsed], axis=0).astype(int)
        return [
            self._derived(replace(thought, pad_place=kept(thought.pad_place, proven)), own)
            for thought, own in zip(parsed, proprioception[:-1], strict=True)
        ]

    def conclude(self, thought: str, proprioception: str, success: bool) -> str:
        """An object that was shoved onto its pad touches the gripper."""
        parsed = self.parse(thought)
        place = parsed.pad_place if success else parsed.place
        if success and parsed.through:
            place = _shoved(parsed.place, parsed.side, proprioception)
        offset = say_way(from_bins(*place), from_bins(*parsed.pad_place))
        return self.say_ending(PushEnding(parsed.object, place, parsed.pad, parsed.pad_place, parsed.side, offset))

    def derive_ending(self, words: str, proprioception: str) -> str:
        parsed = self.parse_ending(words)
        places = from_bins(*parsed.place), from_bins(*parsed.pad_place)
        return self.say_ending(self.ending(parsed.object, places[0], parsed.pad, places[1]))

    def _derived(self, thought: PushThought, proprioception: str) -> str:
        place, target = from_bins(*thought.place), from_bins(*thought.pad_place)
        gripper = from_bins(*gripper_bin(proprioception))
        return self.say(self.line_up(thought.object, place, thought.pad, target, gripper, thought.through))


REACH, PUSH = ReachLanguage(), PushLanguage()


def behind(obj: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where a straight push of `obj` to `target` begins, all (2,) [m]."""
    return obj - BEHIND * np.array(DIRECTIONS[direction(obj, target)])


def along(offset: str) -> np.ndarray:
    """`+8 -2` -> the action (2,) that goes as far along the offset as one step goes."""
    return step_towards(np.zeros(2), np.array(offset.split(), int) * BIN_WIDTH)


def gripper_bin(proprioception: str) -> Bin:
    """`gripper 10 9` -> (10, 9)."""
    return parse_bin(proprioception.split()[1:])


def kept(said: Bin, proven: Sequence[int]) -> Bin:
    """The bin that was said, where it is close to the proven one; else the proven one."""
    column, row = proven if np.abs(np.subtract(said, proven)).max() > CLOSE else said
    return int(column), int(row)


def _say_seen(parsed: PushThought | PushEnding) -> str:
    return f"{say_bin(parsed.object, parsed.place)}; {say_bin(parsed.pad, parsed.pad_place)} {parsed.side}"


def _shoved(place: Bin, side: str, proprioception: str) -> Bin:
    """Where an object is that the gripper shoved to that side: at the gripper's tip, and across as it was seen."""
    touching = to_bins(from_bins(*gripper_bin(proprioception)) + CONTACT * np.array(DIRECTIONS[side]))
    is_along_columns = DIRECTIONS[side][0] != 0
    return (touching[0], place[1]) if is_along_columns else (place[0], touching[1])
