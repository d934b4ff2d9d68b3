"""What a report holds, as plain dataclasses: the page is drawn from them, and `report.json` holds the same.

A RATE is that of results.json: {"k", "n", "rate", "ci95"}. An episode is named by its number in `Played.episodes`.
"""

from dataclasses import dataclass, field
from typing import Any

Rate = dict[str, Any]


@dataclass(frozen=True)
class TaskRow:
    """A task of the held-out report. practised: whether the run trained on it. after, gain, ci95 [points], p_value (of
    McNemar's test): None until the last round is over."""

    task: str
    practised: bool
    before: Rate
    after: Rate | None = None
    gain: float | None = None
    ci95: list[float] | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The run in a few numbers. gain, ci95: [points], the mean over the held-out tasks. episodes: held-out ones, of one
    policy. machine: what the model ran on. command: repeats the run."""

    before: float | None
    after: float | None
    gain: float | None
    ci95: list[float] | None
    episodes: int
    env_steps: int
    all_steps: int
    minutes: float
    machine: str
    command: str
    policy: str


@dataclass(frozen=True)
class RoundRow:
    """A round. state: `accepted`, `refused`, `unhealthy` (its training gave no candidate) or `under way`. reason: the
    gate's, or what was wrong with the training. practice: task -> RATE of sampled practice. before, after: task -> RATE
    at the gate, of the incumbent and of the candidate; p_value: of both, over all tasks."""

    number: int
    state: str
    reason: str
    practice: dict[str, Rate]
    before: dict[str, Rate]
    after: dict[str, Rate]
    p_value: float | None
    gate_episodes: int
    examples: int | None
    pairs: int | None
    branches: int | None


@dataclass(frozen=True)
class Cost:
    """What a round took: environment steps by purpose, and the minutes of its stages. Round 0 is before the first."""

    round: int
    steps: dict[str, int]
    minutes: dict[str, float]


@dataclass(frozen=True)
class Entry:
    """An episode. store: its folder, relative to the run's. policy: who acted. verdict, reason: the critic's on its
    ending, None where it was not asked. steps: number of decisions. certificate: in words."""

    number: int
    store: str
    round: int
    policy: str
    task: str
    seed: int
    attempt: int
    success: bool
    ending: str
    error: str
    steps: int
    reward: float
    branched_at: int
    verdict: float | None
    reason: str
    certificate: str
    state: str  # the fingerprint of its final state, hex


@dataclass(frozen=True)
class Both:
    """Both policies' episodes from one start. where: `held-out`, or `gate 2` of round 2. before, after: numbers of
    episodes, None where there is none."""

    where: str
    task: str
    seed: int
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Side:
    """An answer of a pair. episode, step: where it was given. wins of n: how often success followed its action. saved:
    mean share of the remaining steps that were not needed."""

    episode: int
    step: int
    answer: str
    wins: int
    n: int
    saved: float


@dataclass(frozen=True)
class PairRow:
    """A preference pair. margin: (success, saved). p_value: of Fisher's exact test, one-sided. state: the fingerprint
    of the state that both answers were given in, hex."""

    round: int
    task: str
    seed: int
    chosen: Side
    rejected: Side
    margin: tuple[float, float]
    p_value: float
    state: str


@dataclass(frozen=True)
class Training:
    """An episode that is imitated, of the practice of a round. steps: those that became rows of SFT, whose numbers
    begin at first_row. relabelled: step -> the answer of its row, where that is not the policy's own (hindsight)."""

    round: int
    episode: int
    steps: list[int]
    first_row: int
    relabelled: dict[int, str]


@dataclass(frozen=True)
class Nearest:
    """The imitated step whose frame is nearest to that of a failed episode's step. distance: mean absolute difference
    of the frames, scaled down, in grey levels of 255."""

    row: int
    distance: float


@dataclass(frozen=True)
class Score:
    """A number with its 95 % interval; None where it cannot be computed."""

    value: float | None
    ci95: list[float] | None


@dataclass(frozen=True)
class CriticRow:
    """The critic's verdicts on the endings of the gate's episodes, of one round. answers: its scores on answers with
    measured outcomes, as the run recorded them."""

    round: int
    n: int
    successes: int
    auroc: Score
    balanced_accuracy: Score
    answers: dict[str, Any]


@dataclass(frozen=True)
class Critic:
    """reliability: [mean verdict, share of successes, count] of each bin, over all rounds. worst: numbers of the
    episodes with the largest mistakes, worst first."""

    rounds: list[CriticRow] = field(default_factory=list)
    reliability: list[list[float]] = field(default_factory=list)
    n: int = 0
    worst: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Curve:
    """Success of a training over its environment steps, those of practice and of branches. heldout: (steps, RATE),
    whose interval is absent in a mean over tasks. practice: (steps, share) of sampled episodes."""

    name: str
    heldout: list[tuple[int, Rate]]
    practice: list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Played:
    """Episodes that a page plays. names: of the sides of a start, one or two. sides: where -> other names, for the
    player. imitated_in: the round that an imitated episode comes from -> the rounds that trained on it. nearest: number
    of a failed episode -> the nearest imitated step of each of its steps."""

    episodes: list[Entry]
    both: list[Both]
    names: tuple[str, ...] = ("before", "after")
    sides: dict[str, tuple[str, str]] = field(default_factory=dict)
    pairs: list[PairRow] = field(default_factory=list)
    trained: list[Training] = field(default_factory=list)
    imitated_in: dict[int, list[int]] = field(default_factory=dict)
    nearest: dict[int, list[Nearest]] = field(default_factory=dict)
    complete: bool = True
    versions: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Contents(Played):
    """The report of a run. state: where the run is, in words. absent: what the folder does not hold, a line each.
    curves: task -> the run's, and those of what it is shown beside."""

    run: str
    state: str
    verdict: Verdict
    tasks: list[TaskRow]
    rounds: list[RoundRow]
    costs: list[Cost]
    critic: Critic
    curves: dict[str, list[Curve]] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmRow:
    """An arm of a comparison. before, after: of each seed, the mean over the held-out tasks. gain: [points], over
    before; less: over the arm that it is compared with, None for that one. steps: of practice and of branches, rows,
    pairs: means over the seeds."""

    arm: str
    seeds: list[int]
    before: list[float]
    after: list[float]
    gain: float
    gain_ci95: list[float]
    less: float | None
    less_ci95: list[float] | None
    practice_steps: float
    branch_steps: float
    rows: float
    pairs: float


@dataclass(frozen=True)
class ArmTask:
    """A held-out task of an arm. after: RATE over the episodes of all seeds. less: [points], paired, over the arm that
    it is compared with."""

    arm: str
    task: str
    after: Rate
    less: float | None
    less_ci95: list[float] | None


@dataclass(frozen=True)
class RunLine:
    """A run of a comparison. page: the address of its report, relative to the comparison's; empty where it has none."""

    arm: str
    seed: int
    state: str
    after: float | None
    page: str


@dataclass(frozen=True, kw_only=True)
class Comparison(Played):
    """The report of `handeye compare`. against: the arm that the others are compared with."""

    name: str
    against: str
    arms: list[ArmRow]
    tasks: list[ArmTask]
    runs: list[RunLine]
    curves: dict[str, list[Curve]]


@dataclass(frozen=True)
class Judgement:
    """Verdicts of a critic against outcomes. what: which verdicts. scores: as `verdict_scores` of agent.measure."""

    task: str
    what: str
    scores: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measured(Played):
    """The report of an evaluation or an audit. title: of the page. figures: (what, value) in words. tasks: with `after`
    where both sides were played on the same starts. table: the name of a row -> a cell for each task."""

    title: str
    headline: str
    figures: list[tuple[str, str]]
    tasks: list[TaskRow]
    command: str
    note: str = ""
    judged: list[Judgement] = field(default_factory=list)
    table: list[tuple[str, list[str]]] = field(default_factory=list)
