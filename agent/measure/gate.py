"""Candidate against incumbent on the gate's own seeds: accept, or keep what there is, as soon as that is clear.

The fixed rule decides after all episodes, from counts of discordant pairs: the candidate gained more than it lost, by
McNemar's exact test, in all; and by the sign test it is not worse on any task. Before, at a look after each batch, the
gate stops where the fixed rule can no longer decide otherwise (curtailment), where a sequential test is sure
(`sequential.log_e_better`), or where the candidate has hardly a chance left (futility).
`agent/measure/error_rates.py` simulates how often each decision is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

from agent.config import Gate
from agent.measure.sequential import log_e_better
from agent.measure.statistics import paired, rate, sign_test, whole_pairs
from agent.organise.episode import Episode

# A task with a one-sided p of "worse" below this, two losses more than gains, keeps the gate from accepting early: with
# all its episodes it may turn out to be worse.
BEHIND = 0.5
DRAWS = 5000  # of what the episodes left may bring


@dataclass(frozen=True)
class Tally:
    """Pairs of episodes: those that only the candidate won, those that only the incumbent won, and all."""

    gained: int
    lost: int
    pairs: int  # concordant ones too

    @property
    def p_value(self) -> float:
        """McNemar's exact two-sided p."""
        return sign_test(self.gained, self.lost)

    @property
    def p_worse(self) -> float:
        """The one-sided p that the candidate is worse."""
        return sign_test(self.gained, self.lost, worse=True)

    def with_more(self, gained: int = 0, lost: int = 0) -> "Tally":
        """With these discordant pairs."""
        return Tally(self.gained + gained, self.lost + lost, self.pairs + gained + lost)

    def row(self) -> dict[str, Any]:
        return {"gained": self.gained, "lost": self.lost, "p_worse": self.p_worse}

    def __str__(self) -> str:
        return f"{self.gained} gained, {self.lost} lost"


Tallies = Mapping[str, Tally]  # task -> its tally


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate passes, why, and the paired measurement behind it.

    tasks: task -> before, after (each a RATE), gained, lost and p_worse. episodes: starts of each task that both
    policies played, broken ones among them; where the tasks differ, the most.
    """

    accepted: bool
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]
    p_value: float
    tasks: dict[str, dict[str, Any]]
    episodes: int

    def row(self) -> dict[str, Any]:
        """`gate` of a round in results.json."""
        names = ("before", "after", "p_value", "tasks", "reason", "episodes")
        return {name: getattr(self, name) for name in names}


def decide(
    incumbent: Sequence[Episode], candidate: Sequence[Episode], rule: Gate, left: Mapping[str, int] | None = None
) -> Verdict | None:
    """The verdict on the episodes so far; None while it is not clear.

    left: task -> starts that are not played yet. With none left there is a verdict, or UserError for a task none of
    whose episodes both played whole. Raises ValueError for different starts.
    """
    left = left or {}
    going_on = any(left.values())
    sides = _by_task(incumbent, candidate)
    if going_on and not all(whole_pairs(*both) for both in sides.values()):
        return None
    before, after = paired(incumbent, candidate)
    pairs = {task: paired(*both) for task, both in sides.items()}
    tallies = {task: Tally(int(np.sum(~b & a)), int(np.sum(b & ~a)), len(b)) for task, (b, a) in pairs.items()}
    decision = early(tallies, left, rule) if going_on else final(tallies, rule)
    if decision is None:
        return None
    accepted, reason = decision
    played = {task: len(b) for task, (b, _) in sides.items()}
    episodes = max(played.values())
    if going_on:
        most = max(n + left.get(task, 0) for task, n in played.items())
        reason = f"stopped early, after {episodes} of {most} episodes of a task: {reason}"
    tasks = {task: {"before": rate(b), "after": rate(a)} | tallies[task].row() for task, (b, a) in pairs.items()}
    return Verdict(accepted, reason, rate(before), rate(after), pooled(tallies).p_value, tasks, episodes)


def _by_task(*sides: Sequence[Episode]) -> dict[str, list[list[Episode]]]:
    """Task -> its episodes of each side."""
    tasks = dict.fromkeys(e.task for side in sides for e in side)
    return {task: [[e for e in side if e.task == task] for side in sides] for task in tasks}


def pooled(tallies: Tallies) -> Tally:
    """All tasks' pairs together."""
    return Tally(*(sum(getattr(t, f.name) for t in tallies.values()) for f in fields(Tally)))


def final(tallies: Tallies, rule: Gate) -> tuple[bool, str]:
    """The fixed rule: whether the candidate passes, and why."""
    in_all, worst = pooled(tallies), min(tallies, key=lambda task: tallies[task].p_worse)
    if _is_worse(tallies[worst], len(tallies), rule):
        return False, _worse_on(worst, tallies[worst])
    numbers = f"{in_all}, p {in_all.p_value:.2g}"
    if in_all.gained <= in_all.lost:
        return False, f"not better: {numbers}"
    return _is_better(in_all, rule), f"{'better' if _is_better(in_all, rule) else 'not surely better'}: {numbers}"


def early(tallies: Tallies, left: Mapping[str, int], rule: Gate) -> tuple[bool, str] | None:
    """Whether the candidate passes, and why, where that is clear before the starts that are `left` are played."""
    in_all, remaining = pooled(tallies), sum(left.values())
    best = {task: t.with_more(gained=left.get(task, 0)) for task, t in tallies.items()}
    worst = {task: t.with_more(lost=left.get(task, 0)) for task, t in tallies.items()}
    if not final(best, rule)[0]:
        return False, f"{final(tallies, rule)[1]}; the {remaining} left cannot change it"
    if final(worst, rule)[0]:
        return True, f"{final(tallies, rule)[1]}; the {remaining} left cannot change it"
    for task, t in tallies.items():
        if rule.worst_task and log_e_better(t.lost, t.gained) >= np.log(len(tallies) / rule.worst_task):
            return False, _worse_on(task, t)
    alpha = min(rule.alpha, rule.p_value)
    if alpha and log_e_better(in_all.lost, in_all.gained) >= -np.log(alpha):
        return False, f"worse: {in_all}, {_e_value(in_all.lost, in_all.gained)}"
    chance = predicted(in_all, remaining, rule.p_value)
    if chance < alpha:
        return False, f"{final(tallies, rule)[1]}; with a probability of {chance:.2g} the {remaining} left change it"
    behind = rule.worst_task and any(t.p_worse < BEHIND for t in tallies.values())
    if alpha and not behind and log_e_better(in_all.gained, in_all.lost) >= -np.log(alpha):
        return True, f"better: {in_all}, {_e_value(in_all.gained, in_all.lost)}"
    return None


@cache
def predicted(tally: Tally, left: int, max_p: float) -> float:
    """The predictive probability that the fixed rule in all passes once `left` more pairs are played.

    It is estimated from `DRAWS` futures, given the pairs so far and a prior of one each of gained, lost and the rest.
    Stopping for futility by it (Spiegelhalter, Freedman and Blackburn 1986) only ever refuses: it adds no false
    acceptance.
    """
    rng = np.random.default_rng(0)
    rates = rng.dirichlet([1 + tally.gained, 1 + tally.lost, 1 + tally.pairs - tally.gained - tally.lost], DRAWS)
    gained, lost, _ = (rng.multinomial(left, rates) + np.array([tally.gained, tally.lost, 0])).T
    p_values = np.minimum(1.0, 2 * stats.binom.sf(gained - 1, gained + lost, 0.5))
    return float(np.mean((gained > lost) & (p_values <= max_p)))


def _is_better(tally: Tally, rule: Gate) -> bool:
    return tally.gained > tally.lost and tally.p_value <= rule.p_value


def _is_worse(tally: Tally, tasks: int, rule: Gate) -> bool:
    """Bonferroni's correction: whether any task is refused, and the worst one's being so, is the same after Holm."""
    return bool(rule.worst_task) and tasks * tally.p_worse <= rule.worst_task


def _worse_on(task: str, tally: Tally) -> str:
    return f"worse on {task}: {tally}, p {tally.p_worse:.2g}"


def _e_value(gained: int, lost: int) -> str:
    return f"e-value {np.exp(min(log_e_better(gained, lost), 99)):.3g}"
