"""The tabletop's tasks: practised and held-out goals, held-out looks, and the words that they are made of."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np

from envs.suites.tabletop import grasp_hindsight, hindsight, lift, place, push, reach
from envs.suites.tabletop.captions import questions, varied
from envs.suites.tabletop.grasp import FINGERS, HEIGHTS, PHASES, called_for
from envs.suites.tabletop.looks import LOOKS
from envs.suites.tabletop.scene import COLOURS, OBJECTS, PADS, SHAPES
from envs.suites.tabletop.words import BINS, DIRECTIONS
from envs.task import Task

_PLACE = " ".join([f"({'|'.join(map(str, range(BINS)))})"] * 2)
_WAY = " ".join([rf"[+-]({'|'.join(map(str, range(BINS)))})"] * 2)
_OBJECT = f"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) {_PLACE}"
_PAD = f"({'|'.join(COLOURS)}) pad {_PLACE}"
_SIDE = f"({'|'.join(DIRECTIONS)})"
_HEADING = f"{_PLACE} {_WAY}"
_PHASE = f"(; ({'|'.join(PHASES)}))?"


def _hindsight(of: ModuleType, called_for: Callable[[str], np.ndarray]) -> dict[str, Callable[..., Any]]:
    """Fields of a Task. What is proven here needs no actions, and what is called for no proprioception."""
    return {
        "hindsight": lambda thoughts, proprioception, rewards, actions: of.correct(thoughts, proprioception, rewards),
        "called_for": lambda thought, proprioception: called_for(thought),
        "settled": of.settled,
        "concluded": of.concluded,
        "reckoned": of.reckoned,
    }


_HINDSIGHT = _hindsight(hindsight, hindsight.called_for)
_GRASP_HINDSIGHT = _hindsight(grasp_hindsight, called_for)
# Where a pad is named, most of what was said in an episode that ended on another one, or with another object, is
# unproven; without one, it was an episode of what it ended with.
_GOALS = {"other_goals": lambda env: env.unwrapped.other_goals(), "about": hindsight.about}


def vocabulary() -> tuple[str, ...]:
    """Every word and number that the tasks' instructions, captions and thoughts are made of."""
    ways = (f"{k:+d}" for k in range(1 - BINS, BINS))
    return (
        *OBJECTS,
        *PADS,
        *DIRECTIONS,
        *map(str, range(BINS)),
        *ways,
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


def _tasks(module: ModuleType, thought: str, end: str, **more: Any) -> list[Task]:
    """The task of a module named after it: practised, with held-out goals, and with each held-out look."""
    name = module.__name__.rpartition(".")[2]
    env_id = f"HandEye/{name.capitalize()}-v0"
    gym.register(env_id, entry_point=f"{module.__name__}:{name.capitalize()}", max_episode_steps=module.HORIZON)

    def task(suffix: str, split: str, tags: tuple[str, ...] = (), **kwargs: str) -> Task:
        return Task(
            name + suffix,
            env_id,
            "tabletop",
            split,
            kwargs,
            tags,
            proprioception=lambda env: env.unwrapped.proprioception(),
            describe=lambda env: env.unwrapped.describe(),
            expert=lambda env: env.unwrapped.expert(),
            thought_regex=thought,
            end_regex=end,
            setback=-0.1,  # above it, things were only nudged
            questions=questions,
            varied=varied,
            words=vocabulary(),
            **more,
        )

    return [
        task("", "practice", goals="practice"),
        task("-heldout", "heldout", goals="heldout"),
        *(
            task(f"-{look}", "heldout", (f"look-{look}",), goals="practice", look=look)
            for look in LOOKS
            if look != "practice"
        ),
    ]


TABLETOP = (
    *_tasks(reach, f"{_OBJECT}; over {_HEADING}", f"{_OBJECT}; over {_HEADING}", **_HINDSIGHT, **_GOALS),
    *_tasks(
        push,
        f"{_OBJECT}; {_PAD} {_SIDE}; behind {_HEADING}(; through)?",
        f"{_OBJECT}; {_PAD} {_SIDE} {_WAY}",
        **_HINDSIGHT,
    ),
    *_tasks(lift, f"{_OBJECT}; over {_HEADING}{_PHASE}", f"{_OBJECT}; over {_HEADING}", **_GRASP_HINDSIGHT, **_GOALS),
    *_tasks(place, f"{_OBJECT}; {_PAD}; over {_HEADING}{_PHASE}", f"{_OBJECT}; {_PAD} {_WAY}", **_GRASP_HINDSIGHT),
)
