"""An environment with the words that make it a task for a policy that reads and looks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from math import inf
from typing import Any

import gymnasium as gym
import numpy as np

from envs.errors import UserError, close_to
from envs.observation import Observation
from envs.snapshot import Restorable, is_physical
from envs.wrappers import ActionRepeat, Afresh, FrameHistory, Judged, Picture, SuccessRule, pictures

PACKAGES = {"robotics": "gymnasium_robotics", "metaworld": "metaworld"}  # of suites that are extras


@dataclass(frozen=True)
class Task:
    """An environment with the words that make it a task for a policy that reads and looks.

    Success is `info["success"]` of `env.step`, by `success` where the environment does not tell it, and then it is seen
    as pictures of `image_size` through `cameras` (see `Picture`), `frames` of each, and an action is taken `repeat`
    times. `thought_regex` is the form of what an answer says before its action,
    `end_regex` of what is said of an ending before the verdict whether it is done;
    `levels` is the number of steps an answer tells apart on each axis of a continuous action, `actions` what a
    discrete one is called, and a `verb` comes before it.
    At a reward of `setback` or below a step lost ground, where rewards tell progress.
    `hindsight` corrects the thoughts of a success from its own proprioception, one more than thoughts, its rewards and
    its actions; `called_for` is the action that a thought calls for, given its proprioception, `settled` the thought
    with all that follows from what it sees put right, `concluded` what there is to say of an ending, given the last
    thought, the last proprioception and whether it was a success, `reckoned` what was said of one, given its
    proprioception, with all that follows from what it sees put right. `other_goals` are the `goal` options that make a
    seed's scene one with another goal, and `about` makes a thought one about another goal; without, failures stay
    failures.
    `thought` is what a right thought would be, where that depends on what is seen alone, and not on what is done.
    `questions` asks about what is seen, about `n` times, with the true answers, in scenes that `varied` options of a
    reset make; `words` are those of its instructions, questions and thoughts, for a tokenizer.
    `expert`, `describe`, `thought` and `questions`, where there are any, are privileged: for demonstrations, captions
    and audits, never for an acting policy.
    """

    name: str
    env_id: str
    suite: str
    split: str  # practice: it is trained on; heldout: its goals, or its look, never are
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    tags: tuple[str, ...] = ()  # of published splits, of held-out looks
    success: SuccessRule | None = None
    image_size: int = 64  # [px]
    cameras: Sequence[str | Mapping[str, Any]] = field(default=("",), hash=False)
    frames: int = 1
    repeat: int = 1
    levels: int = 9
    actions: tuple[str, ...] = ()
    verb: str = "move"
    thought_regex: str = ""
    end_regex: str = ""
    instruction: Callable[[gym.Env], str] = lambda env: env.unwrapped.instruction
    proprioception: Callable[[gym.Env], str] = lambda env: ""
    describe: Callable[[gym.Env], dict[str, np.ndarray]] | None = None
    expert: Callable[[gym.Env], tuple[str, Any]] | None = None
    setback: float = -inf
    hindsight: Callable[[Sequence[str], Sequence[str], Sequence[float], Sequence[np.ndarray]], list[str]] | None = None
    called_for: Callable[[str, str], np.ndarray] | None = None
    settled: Callable[[str, str], str] = lambda thought, proprioception: thought
    concluded: Callable[[str, str, bool], str] = lambda thought, proprioception, success: ""
    reckoned: Callable[[str, str], str] = lambda words, proprioception: words
    thought: Callable[[gym.Env], str] | None = None
    questions: Callable[[gym.Env, np.random.Generator, int, bool], Iterator[tuple[str, str]]] | None = None
    varied: Callable[[np.random.Generator], dict[str, Any]] = lambda rng: {}
    words: tuple[str, ...] = ()
    other_goals: Callable[[gym.Env], list[str]] | None = None
    about: Callable[[str, str], str] | None = None

    @cached_property
    def horizon(self) -> int | None:
        """Decisions of an episode, at most; None where no limit is registered or given."""
        module, _, name = self.env_id.rpartition(":")
        if module:
            import_module(module)
        limit = self.kwargs.get("max_episode_steps") or gym.spec(name).max_episode_steps
        return limit and -(-limit // self.repeat)

    def is_installed(self) -> bool:
        """Whether the package that its suite needs is there."""
        return find_spec(PACKAGES.get(self.suite, "gymnasium")) is not None

    def make(self, **kwargs: Any) -> Restorable:
        """The environment, with its time limit, rendering (H, W, 3) uint8. Raises UserError for an unknown id."""
        try:
            env = gym.make(self.env_id, render_mode="rgb_array", **{**self.kwargs, **kwargs})
        except ModuleNotFoundError as error:
            valid = f"valid once it is installed: pip install 'handeye[{self.suite}]'"
            raise UserError(
                f"task {self.name!r} needs {error.name or self.env_id.partition(':')[0]}; {valid}"
            ) from error
        except gym.error.UnregisteredEnv as error:
            raise UserError(f"unknown environment {self.env_id!r}; {close_to(self.env_id, gym.registry)}") from error
        if self.success and is_physical(env):
            env = Afresh(env)
        if self.repeat > 1:
            env = ActionRepeat(env, self.repeat)
        if self.success:
            env = Picture(Judged(env, self.success), self.image_size, self.cameras)
        if self.frames > 1:
            env = FrameHistory(env, self.frames)
        return Restorable(env)

    def observe(self, env: gym.Env) -> Observation:
        """What a policy may know of `env` now: fresh frames and words."""
        frames = env.get_wrapper_attr("frames")() if self.frames > 1 else pictures(env)
        return Observation(frames, self.instruction(env), self.proprioception(env))
