"""Episodes from one start -> preference pairs and labelled or weighted answers, at observations with several answers.

Episodes with the same start and the same actions so far have the same observation, and an episode that returns to a
state repeats its observation. Where the next actions differ, one observation has several
answers. The rest of each episode, the policy's later decisions included, measures the outcome of its answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from agent.config import Margin
from agent.config.run import Select
from agent.organise.episode import Episode, Step
from agent.organise.outcome import Outcome, mean, outcomes_of
from agent.organise.rows import Example, Labelled, Pair
from agent.organise.selection import by_start, worth_imitating
from envs.foreign.actions import key
from envs.registry import task
from policies.dialect import DialectOf, terse


@dataclass(frozen=True)
class Fork:
    """One observation of a task and its measured answers.

    outcomes: action (bytes) -> the steps that took it, each with its outcome. seed: of the start.
    """

    task: str
    outcomes: dict[bytes, list[tuple[Step, Outcome]]]
    seed: int = 0

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


class Preference(NamedTuple):
    """Two measured answers to one observation.

    seed: of the start. winners, losers: all steps that took the chosen action, and the rejected one, each with its
    outcome. margin: the mean outcome of the winners less that of the losers. p_value: one-sided, of Fisher's exact test
    (`more_often`).
    """

    task: str
    seed: int
    chosen: Step
    rejected: Step
    winners: list[tuple[Step, Outcome]]
    losers: list[tuple[Step, Outcome]]
    margin: Outcome
    p_value: float

    def pair(self, dialect: DialectOf) -> Pair:
        """As a row to train on. dialect: of the policy that is trained."""
        return Pair(*_row(self.task, self.chosen, dialect), self.rejected.decision.answer, self.margin)


def forks(episodes: Iterable[Episode]) -> Iterator[Fork]:
    """Every observation after which episodes from one start, or two steps of one episode, took different actions.

    Where actions were followed by random events drawn for them (`Episode.redrawn`), only these outcomes count: the
    others had the luck of one episode, often of one that was chosen because it failed.
    """
    for (name, seed), attempts in by_start(episodes).items():
        taken, drawn = _outcomes(), _outcomes()
        for attempt in attempts:
            redrawn = dict(attempt.redrawn or ())
            values = outcomes_of(attempt, task(name).horizon)
            for i, (step, value) in enumerate(zip(attempt.own, values, strict=True), attempt.branched_at):
                for found in (taken, drawn) if i in redrawn else (taken,):
                    found[step.observation.key()][key(step.decision.action)].append((step, value))
        for outcomes in (taken | drawn).values():
            if len(outcomes) > 1:
                yield Fork(name, dict(outcomes), seed)


def _outcomes() -> defaultdict[bytes, defaultdict[bytes, list[tuple[Step, Outcome]]]]:
    """Observation -> action -> the steps that took it, each with its outcome."""
    return defaultdict(lambda: defaultdict(list))


def preferences(
    episodes: Iterable[Episode], min_margin: Margin, max_pairs: int, p_value: float = 1.0, rejected: int = 1
) -> list[Preference]:
    """The best answer of a fork over each of its `rejected` worst, where the best beats it by `min_margin`.

    The chosen answer is the one with the soonest success among the best action's answers that are worth imitating: its
    action follows from its thought, or DPO would loosen that. The rejected answer is the one with the worst outcome
    among the worse action's.

    p_value: largest p of Fisher's exact test that the best action succeeds more often. max_pairs: pairs kept, those
    with the largest margins.
    """
    result = []
    for fork in forks(episodes):
        *others, (best, winners) = fork.ranked()
        chosen = _to_imitate(fork, winners)
        for worse, losers in others[:rejected] if chosen else ():
            if worse == best or not best.beats(worse, min_margin) or (p := more_often(winners, losers)) > p_value:
                continue
            result.append(Preference(fork.task, fork.seed, chosen, losers[0][0], winners, losers, best.less(worse), p))
    return sorted(result, key=lambda each: each.margin, reverse=True)[:max_pairs]


def preferred(episodes: Iterable[Episode], select: Select) -> list[Preference]:
    """The preferences within the bounds of a run's config."""
    return preferences(episodes, select.min_margin, select.max_pairs, select.pair_p_value, select.rejected)


def pairs(
    episodes: Iterable[Episode],
    min_margin: Margin,
    max_pairs: int,
    p_value: float = 1.0,
    rejected: int = 1,
    dialect: DialectOf = terse,
) -> list[Pair]:
    """The preferences as pairs to train on. dialect: of the policy that is trained."""
    return [each.pair(dialect) for each in preferences(episodes, min_margin, max_pairs, p_value, rejected)]


def labelled_answers(episodes: Iterable[Episode], tie: Margin, dialect: DialectOf = terse) -> list[Labelled]:
    """The answers of each informative fork, one an action, for KTO (Ethayarajh et al., 2024).

    An answer is good where its outcome ties with the best and holds a success. A good one that is not worth imitating
    is left out (see `preferences`).
    """
    result = []
    for fork in forks(episodes):
        if not fork.is_informative(tie):
            continue
        ranked = fork.ranked()
        best = ranked[-1][0]
        for value, steps in ranked:
            good = value.success > 0 and value.ties(best, tie)
            step = _to_imitate(fork, steps) if good else steps[0][0]
            if step is not None:
                result.append(Labelled(*_row(fork.task, step, dialect), good))
    return result


def advantages(episodes: Iterable[Episode], dialect: DialectOf = terse) -> list[tuple[Example, float]]:
    """The answers of each fork, one an action, with the advantage of their mean outcome over the mean of the fork's.

    Without those that are above that mean and not worth imitating (see `preferences`).
    """
    result = []
    for fork in forks(episodes):
        ranked = fork.ranked()
        baseline = float(np.mean([value.value for value, _ in ranked]))
        for value, steps in ranked:
            advantage = value.value - baseline
            step = _to_imitate(fork, steps) if advantage > 0 else steps[0][0]
            if step is not None:
                result.append((Example(*_row(fork.task, step, dialect)), advantage))
    return result


def weighted(
    answers: Sequence[tuple[Example, float]], scale: float, rng: np.random.Generator, most: float = 20.0
) -> list[Example]:
    """As many answers, drawn with probabilities in proportion to exp(advantage / scale), at most `most`.

    Advantage-weighted regression (Peng et al., 2019), whose weights are those of the draw, so that trl's SFTTrainer
    takes the rows as they are.
    """
    weights = np.exp(np.minimum([advantage / scale for _, advantage in answers], np.log(most)))
    drawn = rng.choice(len(answers), len(answers), p=weights / weights.sum()) if answers else ()
    return [answers[i][0] for i in drawn]


def _to_imitate(fork: Fork, steps: Sequence[tuple[Step, Outcome]]) -> Step | None:
    """The soonest success among an action's answers that are worth imitating."""
    good = [step for step, value in steps if value.success and worth_imitating(task(fork.task), step)]
    return good[-1] if good else None


def _row(name: str, step: Step, dialect: DialectOf) -> tuple[Any, ...]:
    """The fields of an example of a task."""
    o = step.observation
    return o.packed_frames(), dialect(name).act(o), step.decision.answer


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
