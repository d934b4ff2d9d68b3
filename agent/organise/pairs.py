"""Episodes from one start -> preference pairs, at observations with several answers.

The simulator is deterministic: episodes with the same start and the same actions so far have the same observation, and
an episode that returns to a state repeats its observation. Where the next actions differ, one observation has several
answers. The rest of each episode, the policy's later decisions included, measures the outcome of its answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from agent.config import Margin
from agent.organise.episode import Episode, Step
from agent.organise.outcome import Outcome, mean, outcomes_of
from agent.organise.rows import Pair
from agent.organise.selection import by_start, worth_imitating
from envs.foreign.actions import key
from envs.registry import task
from policies.dialect import DialectOf, terse


@dataclass(frozen=True)
class Fork:
    """One observation of a task and its measured answers.

    outcomes: action (bytes) -> the steps that took it, each with its outcome.
    """

    task: str
    outcomes: dict[bytes, list[tuple[Step, Outcome]]]

    def is_informative(self, tie: Margin) -> bool:
        """Whether the best and the worst mean outcome differ by more than a tie."""
        (worst, _), *_, (best, _) = self.ranked()
        return not best.ties(worst, tie)

    def ranked(self) -> list[tuple[Outcome, list[tuple[Step, Outcome]]]]:
        """The actions, worst first: (mean outcome, its steps with their outcomes, worst first).

        Of equally bad actions the most frequent comes first, then the earliest, which is that of the episode branched
        from. The policy is most likely to take it, so that rejecting it teaches most.
        """
        rated = [
            (mean(value for _, value in steps), sorted(steps, key=lambda item: item[1]))
            for steps in self.outcomes.values()
        ]
        return sorted(rated, key=lambda item: (item[0], -len(item[1])))


def forks(episodes: Iterable[Episode]) -> Iterator[Fork]:
    """Every observation after which episodes from one start, or two steps of one episode, took different actions."""
    for (name, _), attempts in by_start(episodes).items():
        taken = defaultdict(lambda: defaultdict(list))  # observation -> action -> steps with outcomes
        for attempt in attempts:
            for step, value in zip(attempt.own, outcomes_of(attempt, task(name).horizon), strict=True):
                taken[step.observation.key()][key(step.decision.action)].append((step, value))
        yield from (Fork(name, dict(outcomes)) for outcomes in taken.values() if len(outcomes) > 1)


class Preference(NamedTuple):
    """Two measured answers to one observation. winners, losers: all steps that took the chosen action, and the rejected
    one, each with its outcome. margin: the mean outcome of the winners less that of the losers."""

    task: str
    chosen: Step
    rejected: Step
    winners: list[tuple[Step, Outcome]]
    losers: list[tuple[Step, Outcome]]
    margin: Outcome


def preferences(
    episodes: Iterable[Episode], min_margin: Margin, max_pairs: int, p_value: float = 1.0, rejected: int = 1
) -> list[Preference]:
    """The best answer of a fork with each of its `rejected` worst, where the best beats it by `min_margin`; the largest
    margins first.

    The chosen answer is the one with the soonest success among the best action's answers that are worth imitating: its
    action follows from its thought, or DPO would loosen that. The rejected answer is the one with the worst outcome
    among the worse action's.

    p_value: largest p of Fisher's exact test that the best action succeeds more often. max_pairs: pairs kept, those
    with the largest margins.
    """
    result = []
    for fork in forks(episodes):
        *others, (best, winners) = fork.ranked()
        good = [step for step, value in winners if value.success and worth_imitating(task(fork.task), step)]
        for worse, losers in others[:rejected] if good else ():
            if worse == best or not best.beats(worse, min_margin) or more_often(winners, losers) > p_value:
                continue
            result.append(Preference(fork.task, good[-1], losers[0][0], winners, losers, best.less(worse)))
    return sorted(result, key=lambda each: each.margin, reverse=True)[:max_pairs]


def pairs(
    episodes: Iterable[Episode],
    min_margin: Margin,
    max_pairs: int,
    p_value: float = 1.0,
    rejected: int = 1,
    dialect: DialectOf = terse,
) -> list[Pair]:
    """The preferences as pairs to train on. dialect: of the policy that is trained."""
    found = preferences(episodes, min_margin, max_pairs, p_value, rejected)
    return [
        Pair(
            each.chosen.observation.packed_frames(),
            dialect(each.task).act(each.chosen.observation),
            each.chosen.decision.answer,
            each.rejected.decision.answer,
            each.margin,
        )
        for each in found
    ]


def more_often(winners: Sequence[tuple[Step, Outcome]], losers: Sequence[tuple[Step, Outcome]]) -> float:
    """One-sided p of Fisher's exact test that success followed the winners more often than the losers."""
    counts = [(sum(value.success > 0 for _, value in steps), len(steps)) for steps in (winners, losers)]
    table = [[successes, n - successes] for successes, n in counts]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def flipped(preferences: Iterable[Pair], rng: np.random.Generator) -> list[Pair]:
    """A control: a fair coin decides which answer of each pair is chosen, which removes the measured preference."""
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if rng.random() < 0.5 else pair
        for pair in preferences
    ]
