"""Attempts from one start -> preference pairs, where one observation had several answers.

The simulator is deterministic: attempts that began alike and did the same so far see the same frame, and an attempt
that went to and fro sees it again. Where they then act differently, one observation has several answers, and how each
attempt went on measures what its answer was worth (its own later steps included).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from agent.config import Margin
from agent.organise.episode import Episode, Step
from agent.organise.outcome import Outcome, mean, outcomes_of
from agent.organise.rows import Pair
from agent.organise.selection import by_start, worth_imitating
from envs.registry import task
from policies import prompt


@dataclass(frozen=True)
class Fork:
    """One observation of a task and its measured answers.

    outcomes: for each action, the steps that took it, each with the outcome that followed.
    """

    task: str
    outcomes: dict[bytes, list[tuple[Step, Outcome]]]

    def is_informative(self, tie: Margin) -> bool:
        """Whether its actions led to different outcomes."""
        (worst, _), *_, (best, _) = self.ranked()
        return not best.ties(worst, tie)

    def ranked(self) -> list[tuple[Outcome, list[tuple[Step, Outcome]]]]:
        """(mean outcome, steps, worst first) of each action, worst first.

        Of equally bad actions the one taken most often is first, then the one taken first, which is the branched
        episode's: the policy would do that, and so it has most to unlearn there.
        """
        rated = [
            (mean(value for _, value in steps), sorted(steps, key=lambda item: item[1]))
            for steps in self.outcomes.values()
        ]
        return sorted(rated, key=lambda item: (item[0], -len(item[1])))


def forks(episodes: Iterable[Episode]) -> Iterator[Fork]:
    """Every observation that attempts from one start, or one attempt twice, answered by different actions."""
    for (name, _), attempts in by_start(episodes).items():
        seen = defaultdict(lambda: defaultdict(list))
        for attempt in attempts:
            for step, value in zip(attempt.own, outcomes_of(attempt, task(name).horizon), strict=True):
                seen[step.observation.key()][step.decision.action.tobytes()].append((step, value))
        yield from (Fork(name, dict(outcomes)) for outcomes in seen.values() if len(outcomes) > 1)


def pairs(
    episodes: Iterable[Episode], min_margin: Margin, max_pairs: int, p_value: float = 1.0, rejected: int = 1
) -> list[Pair]:
    """The best answer of each fork against the `rejected` worst that its mean outcome beats by `min_margin`.

    Of the best action, the answer after which success came soonest is chosen, among those worth imitating: else the
    action is preferred whatever its thought calls for, and thoughts lose their hold on actions. Of a worse one, the
    answer after which success came latest, or never, is rejected. That the best succeeds more often has a p of at most
    `p_value` in Fisher's exact test of their counts. At most `max_pairs`, those of the largest margin.
    """
    result = []
    for fork in forks(episodes):
        *others, (best, winners) = fork.ranked()
        good = [step for step, value in winners if value.success and worth_imitating(task(fork.task), step)]
        for worse, losers in others[:rejected] if good else ():
            if worse == best or not best.beats(worse, min_margin) or more_often(winners, losers) > p_value:
                continue
            chosen, refused = good[-1], losers[0][0]
            o = chosen.observation
            answers = chosen.decision.answer, refused.decision.answer
            result.append(Pair(o.frames, prompt.act(o), *answers, best.less(worse)))
    return sorted(result, key=lambda pair: pair.margin, reverse=True)[:max_pairs]


def more_often(winners: Sequence[tuple[Step, Outcome]], losers: Sequence[tuple[Step, Outcome]]) -> float:
    """One-sided p of Fisher's exact test that success followed the winners more often than the losers."""
    counts = [(sum(value.success > 0 for _, value in steps), len(steps)) for steps in (winners, losers)]
    table = [[successes, n - successes] for successes, n in counts]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def flipped(preferences: Iterable[Pair], rng: np.random.Generator) -> list[Pair]:
    """The pairs, each turned round or not by the toss of a coin: a control, with nothing measured in it."""
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if rng.random() < 0.5 else pair
        for pair in preferences
    ]
