"""After a success, what should have been thought: places and waypoints as the episode itself proved them.

Needs no privileged knowledge, only the policy's own words, its own readings of the gripper, the rewards, and that it
succeeded (hindsight as in Andrychowicz et al., 2017, of thoughts instead of goals).
"""

import re
from collections.abc import Sequence

import numpy as np

from envs.suites.tabletop.env import step_towards
from envs.suites.tabletop.push import CONTACT, behind
from envs.suites.tabletop.words import BIN_WIDTH, DIRECTIONS, direction, from_bins, say, say_way, to_bins

CLOSE = 2  # bins; a place said this close to the proven one was seen right
PUSHED = 0.1  # reward above which a step shoved the object ahead, and did not only touch it


def correct(thoughts: Sequence[str], proprioception: Sequence[str], rewards: Sequence[float]) -> list[str]:
    """The thoughts of a successful episode's T steps, corrected; `proprioception` has T + 1, the last after the end.

    What was reached lies where the gripper ended, a pad where most steps saw it. Where the gripper headed, and the way
    there, follow from these. A `through` that shoved nothing ahead, in that step or in those right after that went on
    through, was said too early.
    """
    parts = [thought.split("; ") for thought in thoughts]
    target = _target(parts[0])
    pushed = False
    for part, reward in reversed(list(zip(parts, rewards, strict=True))):
        pushed = part[-1] == "through" and (pushed or reward > PUSHED)
        if part[-1] == "through" and not pushed:
            del part[-1]
    said = np.array([_place(part[target]) for part in parts])
    proven = np.median(said, axis=0).astype(int) if target else _place(proprioception[-1])
    said[np.abs(said - proven).max(axis=1) > CLOSE] = proven
    return [_corrected(*args, target) for args in zip(parts, said, proprioception[:-1], strict=True)]


def about(thought: str, goal: str) -> str:
    """The thought of a reach, its object another: `correct` puts its place right."""
    return f"{goal} {thought.split(' ', 2)[2]}"


def called_for(thought: str) -> np.ndarray:
    """The action (2,) that a thought calls for: straight through, or as far towards its waypoint as one step goes."""
    parts = thought.split("; ")
    if parts[-1] == "through":
        return np.array(DIRECTIONS[parts[1].split()[-1]], np.float32)
    return step_towards(np.zeros(2), np.array(parts[-1].split()[-2:], int) * BIN_WIDTH)


def settled(thought: str, proprioception: str) -> str:
    """The thought with its waypoint and the way there as they follow from the places that it says."""
    parts = thought.split("; ")
    target = _target(parts)
    return _corrected(parts, _place(parts[target]), proprioception, target)


def concluded(thought: str, proprioception: str, success: bool) -> str:
    """What there is to say of an ending, by the last step's thought, corrected if it was a success, and the gripper.

    Where what is asked for lies, and the way left. An object that was shoved onto its pad touches the gripper.
    """
    parts = thought.split("; ")
    target = _target(parts)
    if target == 0:
        return settled(thought, proprioception)
    obj = _place(parts[target] if success else parts[0])
    if success and parts[-1] == "through":
        obj = _shoved(_place(parts[0]), parts[target].split()[-1], proprioception)
    seen = f"{' '.join(parts[0].split()[:2])} {obj[0]} {obj[1]}; {parts[target]}"
    return f"{seen} {say_way(from_bins(*obj), from_bins(*_place(parts[target])))}"


def reckoned(words: str, proprioception: str) -> str:
    """What was said of an ending, with the way that is left as it follows from the places that were said."""
    parts = words.split("; ")
    if _target(parts) == 0:
        return settled(words, proprioception)
    obj, pad = (from_bins(*_place(part)) for part in parts)
    return f"{parts[0]}; {' '.join(parts[1].split()[:4])} {direction(obj, pad)} {say_way(obj, pad)}"


def _shoved(obj: np.ndarray, way: str, proprioception: str) -> np.ndarray:
    """Where an object is, (2,) in bins, that the gripper shoved that way: at its tip, and across as it was seen."""
    along = np.array(DIRECTIONS[way], bool)
    touching = from_bins(*_place(proprioception)) + CONTACT * np.array(DIRECTIONS[way])
    return np.where(along, to_bins(touching), obj)


def _target(parts: list[str]) -> int:
    """Which part of a thought says where to go: the object, or the pad."""
    return 0 if parts[1].startswith("over") else 1


def _corrected(parts: list[str], goal: np.ndarray, proprioception: str, target: int) -> str:
    """One thought, with its target at `goal`, (2,) in bins."""
    goal, gripper, obj = (from_bins(*place) for place in (goal, _place(proprioception), _place(parts[0])))
    seen, last, (heading, *through) = parts[:target], parts[target], parts[target + 1 :]
    last, place = say(" ".join(last.split()[:2]), goal), goal
    if target:
        last, place = f"{last} {direction(obj, goal)}", behind(obj, goal)
    return "; ".join([*seen, last, f"{say(heading.split()[0], place)} {say_way(gripper, place)}", *through])


def _place(words: str) -> np.ndarray:
    """The first place in some words, (2,) int."""
    return np.array(re.findall(r"\b\d+", words)[:2], int)
