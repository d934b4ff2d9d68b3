"""Captions of a scene of the tabletop, and questions with true answers: positions, directions, ways. Privileged."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from envs.suites.tabletop.env import GOALS
from envs.suites.tabletop.language.planar import PUSH, REACH
from envs.suites.tabletop.scene import PADS
from envs.suites.tabletop.words import binned, direction, from_the_left, say, say_way

Places = Mapping[str, np.ndarray]  # name -> (2,) [m]


def varied(rng: np.random.Generator) -> dict[str, Any]:
    """Options of a reset. Some scenes hold only what the task names: positions are learned first where few things can
    be confused."""
    return {"clutter": bool(rng.random() < 0.7), "alike": bool(rng.random() < 0.4)}


def captions(env: gym.Env, rng: np.random.Generator, n: int, instructions: bool) -> Iterator[tuple[str, str]]:
    """A caption, left to right, and questions about the scene, each with its answer.

    `n` questions name some of the things on the table, in random order: several positions for each frame encoded. More
    questions ask for a waypoint relative to one or two things and the way there, answered in the words of a thought.
    Which waypoint a task needs when, and how to move, only demonstrations show. instructions: ask the same in the words
    of an instruction, with a practised goal.
    """
    inner = env.unwrapped
    places, gripper = inner.scene.places(), inner.scene.gripper
    names = sorted(places)
    yield "describe", "; ".join(say(name, places[name]) for name in from_the_left(places))
    for _ in range(n):
        some = [str(name) for name in rng.permutation(names)[: rng.integers(1, len(names) + 1)]]
        asked = ", ".join(f"the {name}" for name in some)
        yield f"where is {asked}", "; ".join(say(name, places[name]) for name in some)
    headings = list(_headings(rng.permutation(names), places, gripper))
    if instructions:
        headings += _instructions(rng.permutation(names), places, gripper)
    for words, thought in headings:
        yield f"{words}. {inner.proprioception()}", thought


def _headings(names: Sequence[str], places: Places, gripper: np.ndarray) -> Iterator[tuple[str, str]]:
    """Over one thing, behind it as seen from another, and through it to the other: the words, and the answer."""
    name, *others = names
    yield f"over the {name}", _over(name, places, gripper)
    for other in others[:1]:
        yield f"behind the {name} from the {other}", _behind(name, other, places, gripper)
        through = f"{say('through', places[other])} {say_way(gripper, places[other])}"
        yield f"through the {name} to the {other}", f"{_seen(name, other, places)}; {through}"


def _instructions(names: Sequence[str], places: Places, gripper: np.ndarray) -> Iterator[tuple[str, str]]:
    """To reach a practised goal, and to push it to a pad: the instruction, and the thought that it leads to."""
    goals, pads = ([name for name in names if name in valid] for valid in (GOALS["practice"], PADS))
    for goal in goals[:1]:
        yield f"reach the {goal}", _over(goal, places, gripper)
        for pad in pads[:1]:
            yield f"push the {goal} to the {pad}", _behind(goal, pad, places, gripper)


def _over(name: str, places: Places, gripper: np.ndarray) -> str:
    return REACH.say(REACH.over(name, places[name], gripper))


def _behind(name: str, other: str, places: Places, gripper: np.ndarray) -> str:
    return PUSH.say(PUSH.line_up(name, binned(places[name]), other, binned(places[other]), gripper))


def _seen(name: str, other: str, places: Places) -> str:
    way = direction(binned(places[name]), binned(places[other]))
    return f"{say(name, places[name])}; {say(other, places[other])} {way}"
