"""Keys of a declared task beyond what it is and when it succeeds, each proposed from what an environment offers.

The place to add to, when a task's file learns a new key: `proposed` gives them in the order in which they are written.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields
from itertools import groupby
from typing import Any, NamedTuple

import gymnasium as gym

from envs.declared import Declared
from envs.declared.numbers import AUTO, MOST_WORDS, NAME
from envs.survey.play import Survey

KNOWN = {field.name for field in fields(Declared)}
FEW_NUMBERS = 24  # of a vector that becomes a part of what is seen
STEPS = 200_000  # of an expert's training, which ends earlier where it succeeds always
FAR = 1e6  # a bound beyond it is none
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

    Where it observes pictures or much else beside, its attributes that play changes are parts too. None where it has
    none of these.
    """
    if found.physical:
        return Proposal(AUTO, "state words: named parts that are seen to move, where they are in the picture", False)
    parts = dict(_parts(found.observation_space, "observation", "state", found.still))
    where = ["its observation"] * bool(parts)
    if found.hidden and not (parts and _is_whole(found.observation_space)):
        parts |= _attributes(found.hidden)
        where.append("attributes that play changes")
    comment = f"state words, from {' and '.join(where)}: rename the parts as they look"
    return Proposal(parts, comment, is_needed=False) if parts else None


def _is_whole(space: gym.Space) -> bool:
    """Whether state words can tell all that is observed, but for texts."""
    if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        return all(map(_is_whole, space.spaces.values() if isinstance(space, gym.spaces.Dict) else space.spaces))
    return not isinstance(space, (gym.spaces.Box, gym.spaces.Discrete)) or bool(dict(_parts(space, "", "")))


def _attributes(paths: Iterable[str]) -> dict[str, list[Any]]:
    """A part for each attribute, of its numbers."""
    parts: dict[str, list[Any]] = {}
    for path in paths:
        base = re.sub(r"\.\d+$", "", path)
        parts.setdefault(_word(base), []).append(path)
    return parts


def _parts(space: gym.Space, path: str, name: str, still: Collection[str] = ()) -> Iterator[tuple[str, list[Any]]]:
    """Name of a part -> its numbers, as `sees` has them. still: paths of numbers that play left as they were. Where
    others of their vector changed they have the bounds of their space; without bounds they are left out."""
    if isinstance(space, gym.spaces.Dict):
        for key, inner in space.spaces.items():
            if "." not in str(key):
                yield from _parts(inner, f"{path}.{key}", _word(str(key)), still)
    elif isinstance(space, gym.spaces.Tuple):
        for i, inner in enumerate(space.spaces):
            yield from _parts(inner, f"{path}.{i}", f"{name}{i}", still)
    elif isinstance(space, gym.spaces.Discrete):
        if space.n <= min(FEW_PLACES, MOST_WORDS):
            low = int(space.start)
            yield name, [{"of": path, "whole": True, "low": low, "high": low + int(space.n) - 1}]
    elif isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and 0 < space.shape[0] <= FEW_NUMBERS:
        numbers = _of_vector(space, path, still)
        yield from [(name, numbers)] if numbers else []


def _of_vector(space: gym.spaces.Box, path: str, still: Collection[str]) -> list[Any]:
    n, numbers = space.shape[0], list[Any]()
    is_still = [f"{path}.{i}" in still for i in range(n)]
    for (quiet, _), run in groupby(range(n), lambda i: (is_still[i], i if is_still[i] else -1)):
        first, *others = run
        low, high = float(space.low[first]), float(space.high[first])
        if not quiet:
            numbers.append(f"{path}.{first}:{first + 1 + len(others)}")
        elif low < high and max(-low, high) <= FAR and not all(is_still):
            numbers.append({"of": f"{path}.{first}", "low": low, "high": high})
    return numbers


def _word(key: str) -> str:
    """One word that names a part."""
    word = re.sub(r"\W+", "_", key).strip("_")
    return word if NAME.fullmatch(word) else f"part_{word}"
