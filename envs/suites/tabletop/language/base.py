"""What the languages of the tabletop share: grammar, vocabulary, things at places."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from envs.language import Language
from envs.suites.tabletop.scene import COLOURS, OBJECTS, PADS, SHAPES
from envs.suites.tabletop.words import BINS, DIRECTIONS, Bin

HEIGHTS = ("low", "mid", "high")
FINGERS = ("open", "holding", "closed")
PHASES = ("down", "close", "up", "open")  # of a grasp
CLOSE = 2  # bins, along each axis: a place that was said this close to the proven one was seen right

# grammar
PLACE = " ".join([f"({'|'.join(map(str, range(BINS)))})"] * 2)
OFFSET = " ".join([rf"[+-]({'|'.join(map(str, range(BINS)))})"] * 2)
OBJECT = f"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) {PLACE}"
PAD = f"({'|'.join(COLOURS)}) pad {PLACE}"
SIDE = f"({'|'.join(DIRECTIONS)})"
HEADING = f"{PLACE} {OFFSET}"
PHASE = f"(; ({'|'.join(PHASES)}))?"

# what the numbers mean, for a model that has not learned it
GRID = (
    f"The picture shows a table from above. A place on it is a column and a row of a {BINS} by {BINS} grid: column 0 "
    "is at the left, row 0 at the near edge, which is the lower one of the picture.",
    "Two numbers with a sign, before the action, are a way: columns to the right (+) or to the left (-), then rows "
    "away from you (+) or nearer (-).",
)
AS_BINS = "one level is one column, or one row"

Thing = tuple[str, Bin]  # `red cube`, and where it is


def vocabulary() -> tuple[str, ...]:
    """Every word and number that the tasks' instructions, captions and thoughts are made of."""
    offsets = (f"{k:+d}" for k in range(1 - BINS, BINS))
    return (
        *OBJECTS,
        *PADS,
        *DIRECTIONS,
        *map(str, range(BINS)),
        *offsets,
        "reach the",
        "push the",
        "to the",
        "gripper",
        "over",
        "behind",
        "through",
        "lift the",
        "place the",
        "on the",
        *HEIGHTS,
        *FINGERS,
        *(phase for phase in PHASES if phase not in FINGERS),
    )


class TabletopLanguage(Language):
    """Words are of the scene's own; an ending is parsed and said as a thought is."""

    words = vocabulary()

    def proprioception(self, env: gym.Env) -> str:
        return env.unwrapped.proprioception()

    def other_goals(self, env: gym.Env) -> list[str]:
        return env.unwrapped.other_goals() if self.names_goal else []

    def parse_ending(self, words: str) -> Any:
        """The words for an ending as data. Raises UserError, naming the text and the grammar."""
        return self.parse(words)

    def say_ending(self, parsed: Any) -> str:
        """The inverse of `parse_ending`."""
        return self.say(parsed)


def parse_thing(words: Sequence[str]) -> Thing:
    """["red", "cube", "20", "9"] -> ("red cube", (20, 9))."""
    return " ".join(words[:2]), parse_bin(words[2:])


def parse_bin(words: Sequence[str]) -> Bin:
    """["20", "9", ...] -> (20, 9)."""
    return int(words[0]), int(words[1])
