"""Episodes from one start -> preference pairs, at observations that had several answers.

The simulator is deterministic: episodes with the same start and the same actions so far have the same observation, and
an episode that returns to a state has its observation again. Where the next actions differ, one observation has several
answers, and the rest of each episode measures its answer (the policy's later steps included).
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

        Of equally bad actions the most frequent is first, then the earliest, which is the branched episode's own: the
        policy is most likely to take it, so rejecting it teaches most.
        """
        rated = [
            (mean(value for _, value in steps), sorted(steps, key=lambda item: item[1]))
            for steps in self.outcomes.values()
        ]
        return sorted(rated, key=lambda item: (item[0], -len(item[1])))


def forks(episodes: Iterable[Episode]) -> Iterator[Fork]:
    """Every observation to which episodes from one start, or one episode at two steps, gave different actions."""
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

    chosen: of the best action's answers the one with the soonest success, among those worth imitating (the action
    follows from its thought; else DPO loosens the tie between thought and action). rejected: of a worse action's
    answers the one with the latest success, or none. p_value: of Fisher's exact test, at most, that the best action
    succeeds more often. max_pairs: the pairs of the largest margins are kept.
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
    """A control: in each pair, a fair coin decides which answer is chosen, so that the measured preference is gone."""
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if rng.random() < 0.5 else pair
        for pair in preferences
    ]
