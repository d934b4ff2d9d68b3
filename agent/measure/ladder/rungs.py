"""What each rung of the ladder found, as numbers, and in words for a table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import expm1, log1p
from typing import Any

from agent.record.tables import percent

NOBODY = "none"  # why the expert's rung is missing, where nobody shows the task


@dataclass(frozen=True)
class Rung:
    """Base of all rungs."""

    def said(self) -> str:
        """One line for a table."""
        raise NotImplementedError

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Failed(Rung):
    """A rung that could not be climbed."""

    error: str

    def said(self) -> str:
        return f"failed: {self.error}"


@dataclass(frozen=True)
class Missing(Rung):
    """A rung that the task does not have."""

    why: str

    def said(self) -> str:
        return self.why


@dataclass(frozen=True)
class Picture(Rung):
    """What the policy sees. path: of a PNG with the frames side by side. shape: (T, H, W, 3).

    part_px: [px] of a frame's side, the smaller side of the largest part that moves in random play; None where nothing
    moved enough to be measured.
    """

    path: str
    shape: tuple[int, ...]
    part_px: float | None

    def said(self) -> str:
        part = "" if self.part_px is None else f"; the largest part that moves is {self.part_px:.1f} px wide"
        return f"{' x '.join(map(str, self.shape))}: {self.path}{part}"


@dataclass(frozen=True)
class Play(Rung):
    """Episodes of one player. rate: as `agent.measure.statistics.rate`, of episodes that did not break.

    returns, decisions: lowest, median and highest of an episode. truncated: episodes that the time limit ended.
    first_error: of the first broken episode.
    """

    rate: Mapping[str, Any]
    returns: tuple[float, float, float]
    decisions: tuple[float, float, float]
    truncated: int
    broken: int = 0
    first_error: str = ""

    def said(self) -> str:
        low, middle, high = (f"{number:.4g}" for number in self.returns)
        broken = f"; {self.broken} broken: {self.first_error}" if self.broken else ""
        return f"{percent(dict(self.rate))} of {self.rate['n']}; return {low} to {high}, median {middle}{broken}"


@dataclass(frozen=True)
class Ceiling(Rung):
    """The expert through the codec. levels: of each axis -> success rate; one entry, 0, where actions are names."""

    levels: Mapping[int, Mapping[str, Any]]
    chosen: int  # the task's own levels

    def said(self) -> str:
        def cell(levels: int) -> str:
            own = ", the task's" if levels == self.chosen and len(self.levels) > 1 else ""
            return f"{levels} levels{own}: " if levels else ""

        return "; ".join(f"{cell(levels)}{percent(dict(rate))}" for levels, rate in self.levels.items())


@dataclass(frozen=True)
class Certificates(Rung):
    """Episodes of random play that happened again, bit for bit, in a fresh environment: k of n. flaw: the first.
    reset: what the environment needs for that, as `envs.foreign.resets.remade.Reset` has it. cut: how many of the n
    were played for their first decisions alone, since the time was up."""

    k: int
    n: int
    flaw: str = ""
    reset: str = "as_is"
    cut: int = 0

    def said(self) -> str:
        needs = "" if self.reset == "as_is" else f", with reset: {self.reset}"
        flaw = f"; {self.flaw}" if self.flaw else ""
        cut = f", {self.cut} of them by their first decisions" if self.cut else ""
        return f"{self.k} of {self.n} episodes happen again, bit for bit{cut}{needs}{flaw}"


@dataclass(frozen=True)
class Restores(Rung):
    """States that were returned to exactly: k of n. way: how. ms: [ms] of one return, median."""

    k: int
    n: int
    way: str
    ms: float
    notes: tuple[str, ...] = ()

    def said(self) -> str:
        return f"{self.k} of {self.n} states exact, by {self.way}, {self.ms:.3g} ms each"


@dataclass(frozen=True)
class Starts(Rung):
    """Distinct starts among the first practice seeds."""

    distinct: int
    seeds: int

    @property
    def estimated(self) -> int:
        """How many starts there are, if all are as likely: n of which so many seeds meet as many as were met, on
        average. Where all seeds differ, as many as there are of these."""
        if self.distinct == self.seeds:
            return self.seeds
        low, high = self.distinct, self.seeds**2
        while high - low > 1:
            middle = (low + high) // 2
            met = middle * -expm1(self.seeds * log1p(-1 / middle)) if middle > 1 else 1
            low, high = (middle, high) if met < self.distinct else (low, middle)
        return low

    def said(self) -> str:
        return f"{self.distinct} of the first {self.seeds} practice seeds"


@dataclass(frozen=True)
class Lengths(Rung):
    """horizon: decisions of an episode, at most. decisions: lowest, median and highest of each player's episodes."""

    horizon: int | None
    decisions: Mapping[str, tuple[float, float, float]]

    def said(self) -> str:
        played = ", ".join(f"{who} {low:.0f} to {high:.0f}" for who, (low, _, high) in self.decisions.items())
        return f"at most {self.horizon or 'any number of'} decisions; {played}"


@dataclass(frozen=True)
class Times(Rung):
    """Medians [ms]: of a reset, of a decision's steps (`repeat` of them), of a frame."""

    reset_ms: float
    step_ms: float
    frame_ms: float

    def said(self) -> str:
        return f"reset {self.reset_ms:.3g} ms, step {self.step_ms:.3g} ms, frame {self.frame_ms:.3g} ms"


@dataclass(frozen=True)
class Memory(Rung):
    """[MB] that one more environment takes."""

    mb: float

    def said(self) -> str:
        return f"{self.mb:.1f} MB an environment" if self.mb >= 0.1 else "less than 0.1 MB an environment"


@dataclass(frozen=True)
class Tokens(Rung):
    """Of the embedded policy's tokenizer, made from this task's words. room: positions of the model."""

    prompt: int
    answer: int
    room: int

    def said(self) -> str:
        return f"prompt {self.prompt}, answer {self.answer}, of {self.room}"


@dataclass(frozen=True)
class Ladder:
    """rungs: name -> what was found. teaches_sight: whether the task tells in words what is seen (state words)."""

    task: str
    rungs: Mapping[str, Rung]
    repeat: int = 1
    teaches_sight: bool = False
    notes: tuple[str, ...] = field(default=())

    def get(self, name: str, kind: type[Rung]) -> Any:
        """The rung of this name, where it was climbed; None where it failed or is missing."""
        rung = self.rungs.get(name)
        return rung if isinstance(rung, kind) else None
