"""Keys of a declared task beyond what it is and when it succeeds, each proposed from what an environment offers.

The place to add to, when a task's file learns a new key: `proposed` gives them in the order in which they are written.
"""

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import gymnasium as gym

from envs.declared import Declared
from envs.declared.numbers import AUTO, MOST_WORDS, NAME
from envs.survey.play import Survey

KNOWN = {field.name for field in fields(Declared)}
FEW_NUMBERS = 24  # of a vector that becomes a part of what is seen
STEPS = 200_000  # of an expert's training, which ends earlier where it succeeds always
FEW_PLACES = 512  # of a discrete observation that does; each is a word


class Proposal(NamedTuple):
    """A value and a comment. is_needed: false for one that a task can do without, where it does not work."""

    value: Any
    comment: str
    is_needed: bool = True


def proposed(found: Survey) -> dict[str, Proposal]:
    """Key of `envs.declared.Declared` -> what it may be."""
    keys: dict[str, Proposal] = {}
    if seen := sees(found):
        keys["sees"] = seen
    keys["expert"] = expert(found)
    return {key: proposal for key, proposal in keys.items() if key in KNOWN}


def expert(found: Survey) -> Proposal:
    """Who shows the task: trained by `handeye pretrain`, on the environment's own observation and reward."""
    how = {"sb3": "ppo", "steps": STEPS} | ({"observe": "pixels"} if _is_picture(found.observation_space) else {})
    return Proposal(how, "trained by `handeye pretrain`; or a FILE.zip, sac or dqn", is_needed=False)


def _is_picture(space: gym.Space) -> bool:
    return isinstance(space, gym.spaces.Box) and len(space.shape) == 3


def sees(found: Survey) -> Proposal | None:
    """State words: of MuJoCo what moves in the picture, else the numbers that the environment observes, part by part.

    None where it observes no short vector, as where it observes pictures.
    """
    if found.physical:
        return Proposal(AUTO, "state words: named parts that are seen to move, where they are in the picture", False)
    parts = dict(_parts(found.observation_space, "observation", "state"))
    comment = "state words, from its observation: rename the parts as they look"
    return Proposal(parts, comment, is_needed=False) if parts else None


def _parts(space: gym.Space, path: str, name: str) -> Iterator[tuple[str, list[Any]]]:
    """Name of a part -> its numbers, as `sees` has them."""
    if isinstance(space, gym.spaces.Dict):
        for key, inner in space.spaces.items():
            if "." not in str(key):
                yield from _parts(inner, f"{path}.{key}", _word(str(key)))
    elif isinstance(space, gym.spaces.Tuple):
        for i, inner in enumerate(space.spaces):
            yield from _parts(inner, f"{path}.{i}", f"{name}{i}")
    elif isinstance(space, gym.spaces.Discrete):
        if space.n <= min(FEW_PLACES, MOST_WORDS):
            low = int(space.start)
            yield name, [{"of": path, "whole": True, "low": low, "high": low + int(space.n) - 1}]
    elif isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and 0 < space.shape[0] <= FEW_NUMBERS:
        yield name, [f"{path}.0:{space.shape[0]}"]


def _word(key: str) -> str:
    """One word that names a part."""
    word = re.sub(r"\W+", "_", key).strip("_")
    return word if NAME.fullmatch(word) else f"part_{word}"
