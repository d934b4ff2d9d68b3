"""Every task by name: the environment, what is said about it, and the tags that make up subsets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import unknown
from envs.observation import Observation
from envs.snapshot import Restorable
from envs.tabletop import hindsight, push, reach
from envs.tabletop.scene import COLOURS, OBJECTS, PADS, SHAPES
from envs.tabletop.words import BINS, DIRECTIONS


@dataclass(frozen=True)
class Task:
    """An environment with the words that make it a task for a policy that reads and looks.

    Success is `info["success"]` of `env.step`. `thought_regex` is the form of what an answer says before its action,
    `end_regex` of what is said of an ending before the verdict whether it is done;
    `levels` is the number of steps an answer tells apart on each axis of a continuous action.
    `hindsight` corrects the thoughts of a success from its own proprioception, one more than thoughts, and its rewards;
    `called_for` is the action that a thought calls for, `settled` a thought, given its proprioception, with all
    that follows from what it sees put right, `concluded` what there is to say of an ending, given the last thought, the
    last proprioception and whether it was a success, `reckoned` what was said of one, given its proprioception, with
    all that follows from what it sees put right. `other_goals` are the `goal` options that make a seed's scene
    one with another goal, and `about` makes a thought one about another goal; without, failures stay failures.
    `expert` and `describe` are privileged: for demonstrations, captions and audits, never for an acting policy.
    """

    name: str
    env_id: str
    suite: str
    split: str  # practice: its goals are trained on; heldout: its goals never are
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    levels: int = 9
    thought_regex: str = ""
    end_regex: str = ""
    instruction: Callable[[gym.Env], str] = lambda env: env.unwrapped.instruction
    proprioception: Callable[[gym.Env], str] = lambda env: env.unwrapped.proprioception()
    describe: Callable[[gym.Env], dict[str, np.ndarray]] = lambda env: env.unwrapped.describe()
    expert: Callable[[gym.Env], tuple[str, np.ndarray]] = lambda env: env.unwrapped.expert()
    hindsight: Callable[[Sequence[str], Sequence[str], Sequence[float]], list[str]] | None = None
    called_for: Callable[[str], np.ndarray] | None = None
    settled: Callable[[str, str], str] = lambda thought, proprioception: thought
    concluded: Callable[[str, str, bool], str] = lambda thought, proprioception, success: ""
    reckoned: Callable[[str, str], str] = lambda words, proprioception: words
    other_goals: Callable[[gym.Env], list[str]] | None = None
    about: Callable[[str, str], str] | None = None

    def make(self, **kwargs: Any) -> Restorable:
        """The environment, with its time limit, rendering (H, W, 3) uint8."""
        return Restorable(gym.make(self.env_id, render_mode="rgb_array", **{**self.kwargs, **kwargs}))

    def observe(self, env: gym.Env) -> Observation:
        """What a policy may know of `env` now: one fresh frame and words."""
        return Observation(env.render()[None], self.instruction(env), self.proprioception(env))


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
            thought_regex=_THOUGHTS[_name],
            end_regex=_ENDS[_name],
            hindsight=hindsight.correct,
            called_for=hindsight.called_for,
            settled=hindsight.settled,
            concluded=hindsight.concluded,
            reckoned=hindsight.reckoned,
            **_GOALS.get(_name, {}),
        )


def task(name: str) -> Task:
    """The task called `name`. Raises UserError, naming the valid ones."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


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
