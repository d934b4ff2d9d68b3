"""What a run is told: YAML with dotted overrides, checked whole before anything starts."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from envs.errors import UserError
from envs.validation import STRICT, Count, checked, read


def _expanded(names: Iterable[str]) -> tuple[str, ...]:
    from envs.registry import expanded  # loads every simulator, and `handeye --help` reads this module

    return expanded(names)


T = TypeVar("T")
Fraction = Annotated[float, Field(ge=0, le=1)]
Tasks = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_expanded)]  # names, tags and suites


@dataclass(frozen=True, config=STRICT)
class Collect:
    """Practice of one round. starts: per task. attempts: episodes from each start. env_steps: of a task, after which no
    more starts are played. archived: starts beside these, per task, in the middle of earlier successes. certify: which
    episodes are simulated again, and left out where they differ: all of practice and branches; kept, the successes that
    selection keeps and the branches, so that pairs, endings and answers of other practice are learned from without; or
    none.
    """

    starts: Count = 100
    attempts: Count = 6
    env_steps: Count | None = None
    archived: NonNegativeInt = 0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    certify: Literal["all", "kept", "none"] = "all"


@dataclass(frozen=True, config=STRICT)
class Branch:
    """Other answers of the policy that imitated this round's practice, tried at moments of failed episodes.

    failures: of practice, at most, per task and round. starts: or else new practice seeds, at most, per task and round,
    to find its own failures on, played as branches are followed. moments: of each failure. where: bisect, the last one
    not lost; critic, its claim of the step that broke the episode; uniform, any that saw something new; early, the
    first of these, with most time left. answers: to each, at most, distinct in their action, that of its own failure
    among them. anywhere: moments drawn at random of each episode from `starts`, failed or not, where the critic learns
    what else might be answered there is worth. repeats: episodes that each is followed through, with common random
    numbers. env_steps: of a task and round, after which no more failures are branched from.
    """

    failures: NonNegativeInt = 0
    starts: NonNegativeInt = 0
    moments: Count = 1
    where: Literal["bisect", "critic", "uniform", "early"] = "bisect"
    answers: Annotated[int, Field(ge=2)] = 4
    anywhere: NonNegativeInt = 0
    repeats: Count = 1
    temperature: Annotated[float, Field(gt=0)] = 1.0  # of the answers
    follow_temperature: Annotated[float, Field(ge=0)] = 0.0  # of what follows: 0 is greedy, and needs no repeats
    env_steps: Count | None = None


@dataclass(frozen=True, config=STRICT)
class Margin:
    """A difference of two measured outcomes. success: in the share of repeats that succeeded. saved: where success is
    equally frequent, in the share of the steps left that were not needed."""

    success: Fraction
    saved: Fraction


@dataclass(frozen=True, config=STRICT)
class Tie(Margin):
    """Up to this difference, two answers are as good as each other. A failure never ties with a success."""

    success: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saved: Fraction = 0.05


@dataclass(frozen=True, config=STRICT)
class Select:
    """What becomes training data. by: whose word it is that an episode succeeded, the environment's or, to see what
    reward is worth, the policy's own as its critic. per_start: successes kept of a start. rounds: the latest rounds
    whose successes are imitated. critiques: questions to the critic, of each kind and round, at most. tie: see
    `Tie`. min_margin: difference in outcome that makes a preference pair, in success or else in speed. pair_p_value: of
    Fisher's exact test, at most, that the chosen answer succeeds more often than the rejected one. pair_repeats: how
    often each pair is shown in an epoch. rehearsed: examples that are imitated again between the pairs. flip_pairs:
    which answer is preferred is drawn at random, to see what measuring is worth.
    """

    by: Literal["reward", "critic"] = "reward"
    per_start: Count = 1
    rounds: Count = 2
    hindsight: bool = True  # correct the thoughts of successes by what the episode proved
    relabel: bool = False  # a failure that reached another goal is a success of that, once simulated so
    critiques: NonNegativeInt = 500
    tie: Tie = Field(default_factory=Tie)
    min_margin: Margin = Field(default_factory=lambda: Margin(0.5, 0.5))
    max_pairs: NonNegativeInt = 500
    pair_p_value: Fraction = 1.0
    rejected: Count = 1  # answers to one observation, each paired with the best
    pair_repeats: Count = 1
    rehearsed: NonNegativeInt = 0
    flip_pairs: bool = False


@dataclass(frozen=True, config=STRICT)
class Critic:
    """How the policy criticises itself before it acts, where it is measured. proposals: answers among which its
    verdicts choose. revisions: how often it answers again, told what is wrong, where the best verdict is below
    `threshold`.
    """

    proposals: Count = 1
    revisions: NonNegativeInt = 0
    threshold: Fraction = 0.5


@dataclass(frozen=True, config=STRICT)
class Gate:
    """The candidate passes if it wins more gate episodes than it loses, with a McNemar p of at most `p_value`, and is
    worse on no task: there the sign test's one-sided p, times the number of tasks, must exceed `worst_task` (0: off).

    sequential: play `batch` episodes of each task at a time and stop where the decision is clear. alpha: of each
    sequential test, the probability of stopping early on a difference that is not there; at most `p_value` is used.
    """

    episodes: Count = 60  # per task, at most
    p_value: Fraction = 0.5
    worst_task: Fraction = 0.05
    sequential: bool = True
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    batch: Count = 20  # per task


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """The report, before and after. episodes: per task. videos: episodes filmed, outside the statistics."""

    tasks: Tasks = ("reach", "push", "reach-heldout", "push-heldout")
    episodes: Count = 60
    videos: NonNegativeInt = 1  # per task


@dataclass(frozen=True, config=STRICT)
class Tracking:
    """Weights & Biases beside the run's own metrics.jsonl."""

    mode: Literal["online", "offline", "disabled"] = "offline"
    project: str = "handeye"


@dataclass(frozen=True, config=STRICT)
class Config:
    """A run of self-improvement. `sft` and `dpo` are fields of trl's SFTConfig and DPOConfig, passed through."""

    policy: str  # the seed policy: a checkpoint folder, or `seed`, the one that ships
    tasks: Tasks
    out: str = "runs/improve"  # run folder
    seed: Annotated[int, Field(ge=0, lt=50)] = 0  # from 50 on, practice would meet the scenes of pretraining
    rounds: Count = 2
    workers: Count = 1  # processes that play episodes
    n_envs: Count = 64  # of each worker, in lockstep
    threads: Count = 2  # of torch, in training
    collect: Collect = Field(default_factory=Collect)
    branch: Branch = Field(default_factory=Branch)
    critic: Critic = Field(default_factory=Critic)
    select: Select = Field(default_factory=Select)
    gate: Gate = Field(default_factory=Gate)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    tracking: Tracking = Field(default_factory=Tracking)
    sft: dict[str, Any] = Field(default_factory=dict)
    dpo: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """An experiment: the run `base`, with the keys of `common` and of one arm changed, once for each arm and seed.

    Keys are dotted, as on the command line. Arms are compared with the first.
    """

    out: str
    base: str  # a run's config
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    arms: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    common: dict[str, Any] = Field(default_factory=dict)


@dataclasses.dataclass(frozen=True)  # not checked when made: it is also what tyro reads the command line by
class Baseline:
    """What Stable-Baselines3 is trained on, and how many held-out episodes it is measured on."""

    task: str  # a name from `handeye tasks`
    algorithm: Literal["ppo", "sac", "dqn", "trpo"] = "ppo"
    """ppo; sac for continuous actions; dqn for discrete ones; trpo"""
    observe: Literal["state", "pixels"] = "state"
    """state, the environment's own observation; or pixels, frames and words as every policy is given"""
    steps: Count = 100_000  # of the environments together
    n_envs: Count = 4  # environments it learns from
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """of its weights, its exploration and which practice seeds it meets"""
    normalize: bool = False  # a state and its rewards by their running statistics, with ppo and trpo
    params: dict[str, bool | int | float] = dataclasses.field(default_factory=dict)
    """arguments of the algorithm's class, name and value by turns: learning_rate 0.01 gamma 0.98"""
    episodes: Count = 100  # how many held-out seeds


@dataclass(frozen=True, config=STRICT)
class Stage:
    """One stage of pretraining: rows about scenes (of every task, or task -> scenes), steps of experts' episodes, each
    `repeats` times, and questions to the critic about scenes (per task) and what the policy so far would do there.

    `sft` are fields of trl's SFTConfig.
    """

    scenes: NonNegativeInt | dict[str, NonNegativeInt]
    first_scene: NonNegativeInt
    questions: Count = 2  # where things are, a scene, beside its caption
    wander: Count = 10  # steps into an episode, fewer than these, before a scene is asked about
    instructions: bool = False  # also: where an instruction leads, a goal that is practised
    demonstrations: dict[str, NonNegativeInt] = Field(default_factory=dict)  # task -> episodes
    first_demonstration: NonNegativeInt = 600_000
    disturbed: Fraction = 0.0  # share of a demonstration's steps at which another action is taken than is shown
    repeats: Count = 1
    critiques: NonNegativeInt = 0
    first_critique: NonNegativeInt = 700_000
    sft: dict[str, Any] = Field(default_factory=dict)

    def scenes_of(self, task: str) -> int:
        return self.scenes.get(task, 0) if isinstance(self.scenes, dict) else self.scenes


@dataclass(frozen=True, config=STRICT)
class Pretrain:
    """The making of a seed policy, stage by stage: sight first, then the form of an answer.

    experts: task -> a .zip of Stable-Baselines3 that shows it, instead of the task's own expert.
    """

    out: str
    tasks: Tasks
    stages: Annotated[dict[str, Stage], Field(min_length=1)]
    experts: dict[str, Path] = Field(default_factory=dict)
    start: str | None = None  # checkpoint folder to go on from, or `seed`; without one, from nothing
    new_words: bool = False  # the tasks' words that its tokenizer spells become tokens of their own
    seed: NonNegativeInt = 0
    threads: Count = 2  # of torch


def load(
    path: Path, overrides: Sequence[str] = (), kind: type[T] = Config, changes: Mapping[str, Any] | None = None
) -> T:
    """The YAML file with changes by dotted key, and with `--dotted.key value` overrides.

    Raises UserError naming the bad key or value.
    """
    values = read(path)
    for key, value in [*(changes or {}).items(), *_parse(overrides)]:
        *parents, last = key.split(".")
        section = values
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = {}
            section = section[parent]
            if not isinstance(section, dict):
                raise UserError(f"config key {key!r}: {parent!r} is no section")
        section[last] = deepcopy(value)
    return checked(kind, values)


def _parse(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    pairs, rest = [], list(overrides)
    while rest:
        key = rest.pop(0)
        if not key.startswith("--"):
            raise UserError(f"argument {key!r}; valid: --dotted.key value")
        key, equals, value = key[2:].partition("=")
        if not equals:
            if not rest:
                raise UserError(f"override --{key} has no value")
            value = rest.pop(0)
        try:
            pairs.append((key.replace("-", "_"), yaml.safe_load(value)))
        except yaml.YAMLError as error:
            raise UserError(f"config key {key!r} = {value!r} is not YAML: {error}") from error
    return pairs
