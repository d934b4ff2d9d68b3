"""After a success of a grasp, what should have been thought, and what there is to say of its end.

As in `hindsight`, from the policy's own words and its own readings of the gripper alone. In which phase a grasp is
follows from what is seen and from these readings, so it is put right with the places.
"""

from collections.abc import Sequence

import numpy as np

from envs.suites.tabletop import lift, place
from envs.suites.tabletop.grasp import Hand
from envs.suites.tabletop.hindsight import CLOSE
from envs.suites.tabletop.words import BIN_WIDTH, from_bins, say

Seen = tuple[list[str], list[np.ndarray]]  # the object and the pad, if there is one: names, and places (2,) [m]


def correct(thoughts: Sequence[str], proprioception: Sequence[str], rewards: Sequence[float]) -> list[str]:
    """The thoughts of a successful episode's T steps, corrected; `proprioception` has T + 1, the last after the end.

    What was held last was the object: it lay where the fingers closed on it, went with them, and stayed where they
    opened. A pad lies where most steps saw it. Without anything held, nothing is proven.
    """
    hands = [Hand.read(words) for words in proprioception]
    holding = [hand.fingers == "holding" for hand in hands]
    if not any(holding):
        return list(thoughts)
    last = max(i for i, held in enumerate(holding) if held)
    first = max((i + 1 for i in range(last) if not holding[i]), default=0)
    seen = [_seen(thought) for thought in thoughts]
    pad = np.median([places[1:] for _, places in seen], axis=0)  # (1, 2), or nothing
    corrected = []
    for i, (names, places) in enumerate(seen):
        proven = [hands[min(max(i, first), last)].place, *pad]
        places = [_kept(*both) for both in zip(places, proven, strict=True)]
        corrected.append(_thought(names, places, hands[i]))
    return corrected


def settled(thought: str, proprioception: str) -> str:
    """The thought with its waypoint, the way there and the phase as they follow from the places that it says."""
    return _thought(*_seen(thought), Hand.read(proprioception))


def concluded(thought: str, proprioception: str, success: bool) -> str:
    """What there is to say of an ending, by the last step's thought and the gripper, which a success ended at."""
    (names, (obj, *pad)), hand = _seen(thought), Hand.read(proprioception)
    return _ending(names, [_kept(obj, hand.place) if success else obj, *pad], hand)


def reckoned(words: str, proprioception: str) -> str:
    """What was said of an ending, with the way that is left as it follows from the places that were said."""
    return _ending(*_seen(words), Hand.read(proprioception))


def _seen(words: str) -> Seen:
    """What some words begin with: `red cube 20 9`, and `green pad 5 9` if that is next."""
    parts = [part.split() for part in words.split("; ")]
    parts = parts[: 1 + (parts[1][1] == "pad")]
    return [" ".join(part[:2]) for part in parts], [from_bins(int(part[2]), int(part[3])) for part in parts]


def _thought(names: list[str], places: list[np.ndarray], hand: Hand) -> str:
    """What is thought where things are seen at `places`."""
    task = place if len(names) > 1 else lift
    return "; ".join([*map(say, names, places), hand.heading(*task.intent(places, hand))])


def _ending(names: list[str], places: list[np.ndarray], hand: Hand) -> str:
    task = place if len(names) > 1 else lift
    return task.ending(names, places, hand.place)


def _kept(said: np.ndarray, proven: np.ndarray) -> np.ndarray:
    """A place that was said close to the proven one was seen right."""
    return said if np.abs(said - proven).max() < (CLOSE + 0.5) * BIN_WIDTH else proven
