"""After a success, what should have been thought: places and waypoints as the episode itself proved them.

Needs no privileged knowledge, only the policy's own words, its own readings of the gripper, and that it succeeded
(hindsight as in Andrychowicz et al., 2017, of thoughts instead of goals).
"""

import re
from collections.abc import Sequence

import numpy as np

from envs.tabletop.words import direction

CLOSE = 2  # bins; a place said this close to the proven one was seen right
STRAIGHT = np.cos(np.deg2rad(40))  # steps within this angle of the way so far belong to one stretch


def correct(thoughts: Sequence[str], proprioception: Sequence[str]) -> list[str]:
    """The thoughts of a successful episode's T steps, corrected; `proprioception` has T + 1, the last after the end.

    A reach was heading where the gripper ended. A push was heading to the end of each straight stretch, which for the
    last stretch is the pad, where most steps saw it. The way is from the gripper to there.
    """
    gripper = np.array([_numbers(words) for words in proprioception])
    said = np.array([_numbers(thought.split("; ")[-2]) for thought in thoughts])
    pushed = thoughts[0].count("; ") == 2
    proven = np.median(said, axis=0).astype(int) if pushed else gripper[-1]
    corrected = []
    for t, thought in enumerate(thoughts):
        parts = thought.split("; ")
        place = said[t] if np.abs(said[t] - proven).max() <= CLOSE else proven
        name = re.match(r"\w+ \w+", parts[-2])[0]
        parts[-2] = f"{name} {place[0]} {place[1]}"
        if pushed:
            parts[-2] += f" {direction(np.array(_numbers(parts[0])), place)}"
        end = _stretch_end(gripper, t) if pushed else len(thoughts)
        goal = place if end == len(thoughts) else gripper[end]
        way = goal - gripper[t]
        parts[-1] = f"go {goal[0]} {goal[1]} {way[0]:+d} {way[1]:+d}"
        corrected.append("; ".join(parts))
    return corrected


def _numbers(words: str) -> list[int]:
    """The first place in some words."""
    return [int(number) for number in re.findall(r"\b\d+", words)[:2]]


def _stretch_end(gripper: np.ndarray, start: int) -> int:
    """The step at which the gripper left the straight line that it took at `start`."""
    end = start + 1
    while end < len(gripper) - 1:
        so_far, onwards = gripper[end] - gripper[start], gripper[end + 1] - gripper[end]
        lengths = np.linalg.norm(so_far) * np.linalg.norm(onwards)
        if lengths and so_far @ onwards < STRAIGHT * lengths:
            break
        end += 1
    return end
