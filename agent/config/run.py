"""The config of a run of self-improvement, and its sections."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from agent.config.optimisers import Methods
from envs.validation import STRICT, Count
from policies.backends.server.address import named
from policies.backends.settings import ModelSettings

STATM = Path("/proc/self/statm")  # of this process, as workers have one each (see `agent.collect.processes`)


def _expanded(names: Iterable[str]) -> tuple[str, ...]:
    from envs.registry import expanded  # loads every simulator, and `handeye --help` reads this module

    return expanded(names)


def _measurable(memory_gb: float) -> float:
    if not STATM.exists():
        raise ValueError("the memory of a process is read from /proc, which this platform lacks; valid: null")
    return memory_gb


Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Tasks = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_expanded)]  # names, tags and suites


@dataclass(frozen=True, config=STRICT)
class Critic:
    """Self-criticism before acting: in practice (`collect.critic`), or at the gate and in the report (`critic`).

    proposals: answers drawn per decision, of which the one with the best verdict acts. revisions: how often the policy
    answers again, with the critique in its prompt, where the best verdict is below `threshold`.
    """

    proposals: Count = 1
    revisions: NonNegativeInt = 0
    threshold: Fraction = 0.5


@dataclass(frozen=True, config=STRICT)
class Collect:
    """Practice of one round.

    starts: per task. attempts: sampled episodes from each start. env_steps: limit per task, after which no further
    starts are rolled out. archived: restarts from states of archived successes, per task, beside the starts.
    temperature: of the attempts. critic: guided generation; what the critic prefers or has revised is played, and
    imitated where it succeeds, as an answer that needed no critic.
    frontier: share of the starts that are those of the round before which succeeded in some of their attempts and not
    in all, nearest to one half first: a curriculum by success rate, after Florensa et al. (2018), "Automatic Goal
    Generation for Reinforcement Learning Agents". The others are new.
    certify: which episodes need a replay certificate and are left out without. all: practice and branches. kept: the
    branches, and the successes that selection keeps; other practice enters pairs, endings and critiques uncertified.
    none: no episode.
    """

    starts: Count = 100
    attempts: Count = 6
    env_steps: Count | None = None
    archived: NonNegativeInt = 0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    critic: Critic = Field(default_factory=Critic)
    frontier: Fraction = 0.0
    certify: Literal["all", "kept", "none"] = "all"


@dataclass(frozen=True, config=STRICT)
class Branch:
    """Branches from failed episodes: other answers of the policy that learns from them, which `optimise` trains.

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

    by: what is imitated. reward: successes, as the environment labels them. critic: as the policy's own critic does,
    which measures what the reward is worth. expert: at all states of practice, what the task's expert answers there
    (DAgger), an upper bound.
    per_start: most successes kept of each start. rounds: number of latest rounds whose successes are imitated.
    hindsight: relabel the thoughts of successes by what followed. sight: captions and questions about states of
    practice and branches, failures too, that each training shows, answered by the simulator; above 0, the thoughts of
    successes are the true ones. relabel: simulate failures under other goals, and learn from those that succeed there.
    critiques: most examples for the critic, of each kind and round. tie: see `Tie`.
    min_margin: smallest difference in outcome of a preference pair, in success or else in speed. max_pairs: pairs kept.
    pair_p_value: largest p of Fisher's exact test that the chosen answer succeeds more often than the rejected one.
    rejected: most answers to one observation that are each paired with the best. pair_repeats: how often each pair, or
    each answer with a measured outcome, is shown in an epoch. rehearsed: SFT examples mixed with these.
    advantage_scale: of AWR; an answer's weight is exp(advantage / advantage_scale).
    flip_pairs: a control that draws at random which answer is preferred.
    """

    by: Literal["reward", "critic", "expert"] = "reward"
    per_start: Count = 1
    rounds: Count = 2
    hindsight: bool = True
    sight: NonNegativeInt = 0
    relabel: bool = False
    critiques: NonNegativeInt = 500
    tie: Tie = Field(default_factory=Tie)
    min_margin: Margin = Field(default_factory=lambda: Margin(0.5, 0.5))
    max_pairs: NonNegativeInt = 500
    pair_p_value: Fraction = 1.0
    rejected: Count = 1
    pair_repeats: Count = 1
    rehearsed: NonNegativeInt = 0
    advantage_scale: Positive = 0.5
    flip_pairs: bool = False


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
class Limits:
    """When a worker process is replaced, and when broken episodes end a run. null: no limit.

    step_s: [s] without progress (an environment's reset or step, a pass of the model, a certificate) after which a
    worker counts as hanging. It may take 10 times as long to start, and to load a model.
    episode_s: [s] from an episode's reset to its end; one that takes longer is played again once, then it is broken.
    memory_gb: [GB] resident memory of a worker; above, it is replaced when it has played its part, and above 1.5 times
    as much at once. Needs /proc (Linux).
    broken: share of a rollout's episodes that may be broken; more end the run with a summary of the causes.

    With `workers: 1` the run's own process plays, unless a task is declared in a file: there, step_s, episode_s and
    memory_gb have no effect.
    """

    step_s: Positive | None = 300.0
    episode_s: Positive | None = None
    memory_gb: Annotated[Positive, AfterValidator(_measurable)] | None = None
    broken: Fraction = 0.5


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text in ("local", "auto") or (host and "/" not in host and port.isdecimal()):
        return text
    raise ValueError("valid: local, auto, HOST:PORT")


@dataclass(frozen=True, config=STRICT)
class Engine:
    """Where the worker processes run (docs/scaling.md). Results do not depend on it.

    kind: local, on this machine; ray, in actors of a Ray cluster, `workers` of them (extra `ray`).
    address: local, a Ray of this machine that starts and ends with the run; auto, the cluster that this machine is a
    part of (`ray start`); HOST:PORT, that of its head.
    cpus: that Ray reserves for each worker, and for each replica of the policy.
    policies: replicas of the policy, in actors of their own, that answer the workers' questions in batches; 0: each
    worker holds the policy, or the run's process does (`model.shared`).
    gpus: that Ray reserves for each replica; of several replicas on one GPU, a fraction.
    """

    kind: Literal["local", "ray"] = "local"
    address: Annotated[str, AfterValidator(_address)] = "local"
    cpus: Positive = 1.0
    policies: NonNegativeInt = 0
    gpus: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True, config=STRICT)
class Tracking:
    """Where metrics go beside the run's own metrics.jsonl (docs/tracking.md).

    sinks: wandb (Weights & Biases, W&B), tensorboard, trackio; project, group and tags are trackio's too, the other
    keys are for W&B.
    mode: disabled is as sinks without wandb. group: runs that belong together; the arms of `handeye compare` are one by
    themselves. films: in a table of episodes, of each task and outcome.
    artifacts: policies and episodes. references: their paths and checksums are recorded. files: they are uploaded.
    """

    mode: Literal["online", "offline", "disabled"] = "offline"
    project: str = "handeye"
    sinks: tuple[Literal["wandb", "tensorboard", "trackio"], ...] = ("wandb",)
    group: str | None = None
    tags: tuple[str, ...] = ()
    films: NonNegativeInt = 1
    artifacts: Literal["files", "references", "none"] = "references"


@dataclass(frozen=True, config=STRICT)
class Config:
    """A run of self-improvement.

    optimise: the trainings of a round, in their order. sft: on successes. The others learn from answers to one
    observation with measured outcomes: dpo (pairs), kto (good and bad answers), awr (SFT weighted by advantage), grpo
    (new answers, whose outcomes are measured in training).
    sft, dpo, kto, awr, grpo: fields of trl's SFTConfig, DPOConfig, KTOConfig, SFTConfig and GRPOConfig, passed through.
    """

    policy: Annotated[str, BeforeValidator(named)]
    """the seed policy: a checkpoint folder, a model on a hub, or `seed`, the one that ships; a server is {server: URL,
    model: NAME}"""
    tasks: Tasks
    model: ModelSettings = Field(default_factory=ModelSettings)  # how it is loaded, shown frames, asked and trained
    out: str = "runs/improve"  # run folder
    seed: Annotated[int, Field(ge=0, lt=50)] = 0  # from 50 on, practice seeds would overlap with pretraining's
    rounds: Count = 2
    optimise: Methods = ("sft", "dpo")
    workers: Count = 1  # processes that roll out episodes
    n_envs: Count = 64  # of each worker, in lockstep, at most: fewer where memory is short
    threads: Count = 2  # of torch, in training
    engine: Engine = Field(default_factory=Engine)  # where the workers run
    limits: Limits = Field(default_factory=Limits)  # of workers, and of what may break
    collect: Collect = Field(default_factory=Collect)
    branch: Branch = Field(default_factory=Branch)
    critic: Critic = Field(default_factory=Critic)
    select: Select = Field(default_factory=Select)
    gate: Gate = Field(default_factory=Gate)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    tracking: Tracking = Field(default_factory=Tracking)
    sft: dict[str, Any] = Field(default_factory=dict)
    dpo: dict[str, Any] = Field(default_factory=dict)
    kto: dict[str, Any] = Field(default_factory=dict)
    awr: dict[str, Any] = Field(default_factory=dict)
    grpo: dict[str, Any] = Field(default_factory=dict)
