"""The config of a run: YAML with dotted overrides, checked whole before anything starts."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from envs.errors import UserError
from envs.validation import STRICT, Count, checked, read
from policies.backends.server.address import named
from policies.backends.settings import ModelSettings


def _expanded(names: Iterable[str]) -> tuple[str, ...]:
    from envs.registry import expanded  # loads every simulator, and `handeye --help` reads this module

    return expanded(names)


T = TypeVar("T")
Fraction = Annotated[float, Field(ge=0, le=1)]
Tasks = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_expanded)]  # names, tags and suites


@dataclass(frozen=True, config=STRICT)
class Collect:
    """Practice of one round.

    starts: per task. attempts: sampled episodes from each start. env_steps: limit per task, after which no further
    starts are rolled out. archived: restarts from states of archived successes, per task, beside the starts.
    temperature: of the attempts.
    certify: which episodes need a replay certificate and are left out without. all: practice and branches. kept: the
    branches, and the successes that selection keeps; other practice enters pairs, endings and critiques uncertified.
    none: no episode.
    """

    starts: Count = 100
    attempts: Count = 6
    env_steps: Count | None = None
    archived: NonNegativeInt = 0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    certify: Literal["all", "kept", "none"] = "all"


@dataclass(frozen=True, config=STRICT)
class Branch:
    """Branches from failed episodes: other answers of the imitator, the policy after SFT on this round's practice.

    failures: most failures of practice to branch from, per task and round.
    starts: instead, most new practice seeds per task and round. A root episode is rolled out from each, with
    `follow_temperature`, and the failures among these are branched from.
    moments: of each failure. where: which ones. bisect: the last one from which success was still reached. critic: the
    step that the critic blames. uniform: at random among distinct observations. early: the first of these, which leave
    most time.
    answers: distinct actions tried at each moment, the failed episode's own included.
    anywhere: random moments of each root episode, failed or not, whose other answers are measured for the critic.
    repeats: rollouts after each answer, with common random numbers.
    temperature: of the answers. follow_temperature: of the steps after them; 0 is greedy and needs no repeats.
    env_steps: limit per task and round, after which no further failures are branched from.
    """

    failures: NonNegativeInt = 0
    starts: NonNegativeInt = 0
    moments: Count = 1
    where: Literal["bisect", "critic", "uniform", "early"] = "bisect"
    answers: Annotated[int, Field(ge=2)] = 4
    anywhere: NonNegativeInt = 0
    repeats: Count = 1
    temperature: Annotated[float, Field(gt=0)] = 1.0
    follow_temperature: Annotated[float, Field(ge=0)] = 0.0
    env_steps: Count | None = None


@dataclass(frozen=True, config=STRICT)
class Margin:
    """A difference of two measured outcomes.

    success: in the success rate over repeats. saved: where the success rates are equal, in the share of the remaining
    steps that success did not need.
    """

    success: Fraction
    saved: Fraction


@dataclass(frozen=True, config=STRICT)
class Tie(Margin):
    """The largest difference of outcomes at which two answers tie. A failure never ties with a success."""

    success: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saved: Fraction = 0.05


@dataclass(frozen=True, config=STRICT)
class Select:
    """Selection of training data.

    by: what labels an episode's success: the environment's reward, or the policy's own critic, which measures what the
    reward is worth.
    per_start: most successes kept of each start. rounds: number of latest rounds whose successes are imitated.
    hindsight: relabel the thoughts of successes by what followed. relabel: simulate failures under other goals, and
    learn from those that succeed there.
    critiques: most examples for the critic, of each kind and round. tie: see `Tie`.
    min_margin: smallest difference in outcome of a preference pair, in success or else in speed. max_pairs: pairs kept.
    pair_p_value: largest p of Fisher's exact test that the chosen answer succeeds more often than the rejected one.
    rejected: most answers to one observation that are each paired with the best. pair_repeats: how often each pair is
    shown in an epoch. rehearsed: SFT examples mixed with the pairs.
    flip_pairs: a control that draws at random which answer is preferred.
    """

    by: Literal["reward", "critic"] = "reward"
    per_start: Count = 1
    rounds: Count = 2
    hindsight: bool = True
    relabel: bool = False
    critiques: NonNegativeInt = 500
    tie: Tie = Field(default_factory=Tie)
    min_margin: Margin = Field(default_factory=lambda: Margin(0.5, 0.5))
    max_pairs: NonNegativeInt = 500
    pair_p_value: Fraction = 1.0
    rejected: Count = 1
    pair_repeats: Count = 1
    rehearsed: NonNegativeInt = 0
    flip_pairs: bool = False


@dataclass(frozen=True, config=STRICT)
class Critic:
    """Self-criticism before acting, at the gate and in the report.

    proposals: answers drawn per decision, of which the one with the best verdict acts. revisions: how often the policy
    answers again, with the critique in its prompt, where the best verdict is below `threshold`.
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
    """The held-out report, before and after. episodes: per task. videos: episodes filmed, outside the statistics."""

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
    """A run of self-improvement. sft, dpo: fields of trl's SFTConfig and DPOConfig, passed through."""

    policy: Annotated[str, BeforeValidator(named)]
    """the seed policy: a checkpoint folder, a model on a hub, or `seed`, the one that ships; a server is {server: URL,
    model: NAME}"""
    tasks: Tasks
    model: ModelSettings = Field(default_factory=ModelSettings)  # how it is loaded, shown frames, asked and trained
    out: str = "runs/improve"  # run folder
    seed: Annotated[int, Field(ge=0, lt=50)] = 0  # from 50 on, practice seeds would overlap with pretraining's
    rounds: Count = 2
    workers: Count = 1  # processes that roll out episodes
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


@dataclass(frozen=True, config=STRICT)
class Stage:
    """One stage of pretraining: SFT on captions of scenes, on demonstrations, and on critiques of the policy so far.

    scenes: of every task, or task -> scenes. demonstrations: task -> episodes of its expert; their steps are repeated
    `repeats` times. critiques: scenes per task. first_*: offset of the first practice seed of each kind. sft: fields of
    trl's SFTConfig.
    """

    scenes: NonNegativeInt | dict[str, NonNegativeInt] = 0
    first_scene: NonNegativeInt = 500_000
    questions: Count = 2  # per scene, about where things are, beside its caption
    wander: Count = 10  # a scene lies fewer than these steps into an episode
    instructions: bool = False  # also questions in the words of an instruction, with practised goals
    demonstrations: dict[str, NonNegativeInt] = Field(default_factory=dict)
    first_demonstration: NonNegativeInt = 600_000
    disturbed: Fraction = 0.0  # share of a demonstration's steps that take a random action, not the one shown
    repeats: Count = 1
    critiques: NonNegativeInt = 0
    first_critique: NonNegativeInt = 700_000
    sft: dict[str, Any] = Field(default_factory=dict)

    def scenes_of(self, task: str) -> int:
        return self.scenes.get(task, 0) if isinstance(self.scenes, dict) else self.scenes


@dataclass(frozen=True, config=STRICT)
class Pretrain:
    """The training of a seed policy, stage by stage: perception first, then the form of an answer.

    experts: task -> a .zip of Stable-Baselines3 that demonstrates the task, instead of the task's own expert.
    """

    out: str
    tasks: Tasks
    stages: Annotated[dict[str, Stage], Field(min_length=1)]
    experts: dict[str, Path] = Field(default_factory=dict)
    start: str | None = None  # initial checkpoint folder, a model on a hub, or `seed`; None: random weights
    model: ModelSettings = Field(default_factory=ModelSettings)  # how the start is loaded, shown frames and trained
    new_words: bool = False  # words of the tasks that the start's tokenizer splits become single tokens
    seed: NonNegativeInt = 0
    threads: Count = 2  # of torch


def load(
    path: Path, overrides: Sequence[str] = (), kind: type[T] = Config, changes: Mapping[str, Any] | None = None
) -> T:
    """The config of a YAML file, with `changes` by dotted key, then `--dotted.key value` overrides, applied.

    Of a run's or of pretraining's file, the key `base` names another one, relative to it, whose values hold where it
    has none. Raises UserError naming the bad key or value.
    """
    based = "base" not in {field.name for field in dataclasses.fields(kind)}
    values = _with_base(path) if based else read(path)
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


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """above: the files whose base this one is."""
    values = read(path)
    if "base" not in values:
        return values
    base = path.parent / str(values.pop("base"))
    if base.resolve() in (path.resolve(), *above):
        raise UserError(
            f"config key 'base' = {str(base)!r}, in {str(path)!r}, leads back to itself; valid: another file"
        )
    return _merged(_with_base(base, (*above, path.resolve())), values)


def _merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged key by key; anything else replaces what the base has."""
    merged = dict(base)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


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
