"""Every task by name: the environment, what is said about it, and the tags that make up subsets."""

import gymnasium as gym

from envs.declared import declared
from envs.errors import unknown
from envs.meta_world import METAWORLD
from envs.robotics import ROBOTICS
from envs.stock import STOCK
from envs.tabletop import hindsight, push, reach
from envs.tabletop.captions import questions, varied
from envs.tabletop.scene import COLOURS, OBJECTS, PADS, SHAPES
from envs.tabletop.words import BINS, DIRECTIONS
from envs.task import Task

_PLACE = " ".join([f"({'|'.join(map(str, range(BINS)))})"] * 2)
_WAY = " ".join([rf"[+-]({'|'.join(map(str, range(BINS)))})"] * 2)
_OBJECT = f"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) {_PLACE}"
_PAD = f"({'|'.join(COLOURS)}) pad {_PLACE} ({'|'.join(DIRECTIONS)})"
_HEADING = f"{_PLACE} {_WAY}"
_SIGHTS = {"reach": _OBJECT, "push": f"{_OBJECT}; {_PAD}"}
_THOUGHTS = {
    "reach": f"{_SIGHTS['reach']}; over {_HEADING}",
    "push": f"{_SIGHTS['push']}; behind {_HEADING}(; through)?",
}
_ENDS = {"reach": _THOUGHTS["reach"], "push": f"{_SIGHTS['push']} {_WAY}"}

# Of a push that ended on another pad, or of another object, most of what was said of the way there is unproven.
_GOALS = {"reach": {"other_goals": lambda env: env.unwrapped.other_goals(), "about": hindsight.about}}


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
    )


TASKS: dict[str, Task] = {}
for _name, _module, _class in (("reach", reach, "Reach"), ("push", push, "Push")):
    _id = f"HandEye/{_class}-v0"
    gym.register(_id, entry_point=f"{_module.__name__}:{_class}", max_episode_steps=_module.HORIZON)
    for _split, _suffix in (("practice", ""), ("heldout", "-heldout")):
        TASKS[_name + _suffix] = Task(
            _name + _suffix,
            _id,
            "tabletop",
            _split,
            {"goals": _split},
            proprioception=lambda env: env.unwrapped.proprioception(),
            describe=lambda env: env.unwrapped.describe(),
            expert=lambda env: env.unwrapped.expert(),
            thought_regex=_THOUGHTS[_name],
            end_regex=_ENDS[_name],
            setback=-0.1,  # above it, things were only nudged
            hindsight=hindsight.correct,
            called_for=hindsight.called_for,
            settled=hindsight.settled,
            concluded=hindsight.concluded,
            reckoned=hindsight.reckoned,
            questions=questions,
            varied=varied,
            words=vocabulary(),
            **_GOALS.get(_name, {}),
        )

TASKS |= {task.name: task for task in (*STOCK, *ROBOTICS, *METAWORLD)}


def task(name: str) -> Task:
    """The task called `name`, or declared in the YAML file of that path. Raises UserError, naming the valid ones."""
    if name.endswith((".yaml", ".yml")):
        return declared(name)
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def tagged(tag: str) -> list[str]:
    """The names of the tasks of a suite, or of one side of a published split, such as `ml10-test`."""
    return [task.name for task in TASKS.values() if tag in (task.suite, *task.tags)]
