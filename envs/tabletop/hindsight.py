"""After a success, what should have been thought: places and waypoints as the episode itself proved them.

Needs no privileged knowledge, only the policy's own words, its own readings of the gripper, and that it succeeded
(hindsight as in Andrychowicz et al., 2017, of thoughts instead of goals).
"""

import re
from collections.abc import Sequence

import numpy as np

from envs.tabletop.words import direction

CLOSE = 2  # bins; a place said this close to the proven one was seen right


def correct(thoughts: Sequence[str], proprioception: Sequence[str]) -> list[str]:
    """The thoughts of a successful episode's T steps, corrected; `proprioception` has T + 1, the last after the end.

    A reach was heading where the gripper ended. A pad lies where most steps saw it, and a step through the object was
    heading there, one behind it to where the next step through it began. Of a step beside it nothing is proven. The way
    is from the gripper to there.
    """
    gripper = np.array([_place(words) for words in proprioception])
    pushed = thoughts[0].count("; ") == 2
    said = np.array([_place(thought.split("; ")[-2]) for thought in thoughts])
    proven = np.median(said, axis=0).astype(int) if pushed else gripper[-1]
    said[np.abs(said - proven).max(axis=1) > CLOSE] = proven
    corrected, begin = [], None  # backwards: where a push begins is known from the steps after
    for t in reversed(range(len(thoughts))):
        *seen, last, heading = thoughts[t].split("; ")
        word, goal = heading.split()[0], said[t]
        last = f"{_name(last)} {goal[0]} {goal[1]}"
        if pushed:
            last += f" {direction(_place(seen[0]), goal)}"
            if word == "through":
                begin = gripper[t]
            else:
                goal = begin if word == "behind" and begin is not None else _place(heading)
        way = goal - gripper[t]
        corrected.append("; ".join([*seen, last, f"{word} {goal[0]} {goal[1]} {way[0]:+d} {way[1]:+d}"]))
    return corrected[::-1]


def _name(words: str) -> str:
    return " ".join(words.split()[:2])


def _place(words: str) -> np.ndarray:
    """The first place in some words, (2,) int."""
    return np.array(re.findall(r"\b\d+", words)[:2], int)
