"""Candidate against incumbent on the gate's own seeds: accept, or keep what there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.measure.statistics import mcnemar, paired, rate
from agent.organise.episode import Episode


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate passes, and the paired measurement behind it."""

    accepted: bool
    before: dict[str, Any]
    after: dict[str, Any]
    p_value: float


def decide(incumbent: Sequence[Episode], candidate: Sequence[Episode], max_p: float) -> Verdict:
    """Accept if the candidate succeeds on more of the same episodes, with a McNemar p of at most `max_p`."""
    before, after = paired(incumbent, candidate)
    p_value = mcnemar(before, after)
    return Verdict(bool(after.sum() > before.sum() and p_value <= max_p), rate(before), rate(after), p_value)
