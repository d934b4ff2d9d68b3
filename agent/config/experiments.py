"""The configs of experiments: arms that are compared, and baselines."""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from agent.config.run import Tracking
from envs.validation import STRICT, Count


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """An experiment: one run of `base` for each arm and seed, with the keys of `common` and of the arm changed.

    common, arms: dotted key -> value, as on the command line. The first arm is the reference.
    """

    out: str
    base: str  # a run's config
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    arms: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    common: dict[str, Any] = Field(default_factory=dict)


@dataclasses.dataclass(frozen=True)  # not a pydantic one: tyro fills it from the command line, then it is checked
class Baseline:
    """A Stable-Baselines3 baseline: task, algorithm, training steps, and held-out episodes."""

    task: str  # a name from `handeye tasks`
    algorithm: Literal["ppo", "sac", "dqn", "trpo"] = "ppo"
    """ppo; sac for continuous actions; dqn for discrete ones; trpo"""
    observe: Literal["state", "pixels"] = "state"
    """state: the environment's own observation; pixels: frames and words, as the other policies observe"""
    steps: Count = 100_000  # environment steps, of all environments together
    n_envs: Count = 4  # training environments
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """of the initial weights, the exploration and the order of practice seeds"""
    normalize: bool = False  # state and rewards, by their running statistics; with ppo and trpo
    params: dict[str, bool | int | float] = dataclasses.field(default_factory=dict)
    """arguments of the algorithm's class, alternating names and values: learning_rate 0.01 gamma 0.98"""
    episodes: Count = 100  # how many held-out seeds
    until: NonNegativeInt = 0
    """stop training early when so many evaluation episodes, of practice seeds, all succeed; 0: never"""
    repeat: Count | None = None  # how often an action is taken while it trains; by default as in the task
    tracking: Tracking = dataclasses.field(default_factory=lambda: Tracking("disabled"))
    """where the curve of the training goes: into OUT.metrics, unless the mode is disabled and no other sink is named"""
