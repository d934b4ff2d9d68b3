"""The names that an environment gives its own discrete actions, in words that an answer can hold."""

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym


def own_names(env: gym.Env[Any, Any]) -> tuple[str, ...]:
    """Of the actions of a Discrete space, in their order; none where the environment has none, or they do not fit.

    Looked for are an enumeration `actions` (MiniGrid), `get_action_meanings()` (the Arcade Learning Environment), and
    a mapping `action_type.actions` of numbers to names (highway-env).
    """
    if not isinstance(env.action_space, gym.spaces.Discrete):
        return ()
    names = tuple(map(_spelled, _told(env.unwrapped)))
    fits = len(names) == env.action_space.n == len(set(names)) and all(names)
    return names if fits else ()


def _told(inner: Any) -> Iterable[str]:
    own = getattr(inner, "actions", None)
    if isinstance(own, enum.EnumMeta):
        return [member.name for member in sorted(own, key=lambda member: member.value) if _is_number(member.value)]
    if callable(getattr(inner, "get_action_meanings", None)):
        return map(str, inner.get_action_meanings())
    numbered = getattr(getattr(inner, "action_type", None), "actions", None)
    if isinstance(numbered, Mapping) and all(map(_is_number, numbered)):
        return [str(numbered[key]) for key in sorted(numbered)]
    return ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int)


def _spelled(name: str) -> str:
    """`LANE_LEFT` -> `lane left`, `UPRIGHT` -> `upright`."""
    return " ".join(re.findall(r"\w+", name.replace("_", " "))).lower()
