"""Attempts from one start -> preference pairs and critique examples, where the attempts part ways.

The simulator is deterministic: attempts that began alike and did the same so far are in the same state and see the
same frame. Where they first act differently, one observation has several answers, and how each attempt ended measures
what its answer was worth (its own later steps included).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agent.episode import Episode, Step
from agent.rows import Example, Pair
from agent.selection import by_start
from policies import critic, prompt


@dataclass(frozen=True)
class Fork:
    """One observation and its measured answers.

    outcomes: for each action, the steps that took it, each with the success of its attempt.
    """

    outcomes: dict[bytes, list[tuple[Step, bool]]]

    def ranked(self) -> list[tuple[float, list[tuple[Step, bool]]]]:
        """(success rate, steps) of each action, worst first."""
        rated = [(float(np.mean([success for _, success in steps])), steps) for steps in self.outcomes.values()]
        return sorted(rated, key=lambda item: item[0])


def forks(episodes: Iterable[Episode]) -> Iterator[Fork]:
    """Every point where attempts from one start part ways."""
    for attempts in by_start(episodes).values():
        yield from _forks(attempts, 0)


def _forks(attempts: Sequence[Episode], depth: int) -> Iterator[Fork]:
    branches: dict[bytes, list[Episode]] = defaultdict(list)
    for attempt in attempts:
        if depth < len(attempt.steps):
            branches[attempt.steps[depth].decision.action.tobytes()].append(attempt)
    if len(branches) > 1:
        yield Fork({action: [(e.steps[depth], e.success) for e in branch] for action, branch in branches.items()})
    for branch in branches.values():
        if len(branch) > 1:
            yield from _forks(branch, depth + 1)


def pairs(episodes: Iterable[Episode], min_margin: float, max_pairs: int) -> list[Pair]:
    """The best against the worst answer of each fork whose success rates differ by `min_margin` or more.

    The chosen answer is one that succeeded, the rejected one that failed. At most `max_pairs`, those of the largest
    margin.
    """
    result = []
    for fork in forks(episodes):
        (worst, losers), *_, (best, winners) = fork.ranked()
        if best > worst and best - worst >= min_margin:
            chosen = next(step for step, success in winners if success)
            rejected = next(step for step, success in losers if not success)
            o = chosen.observation
            answers = chosen.decision.answer, rejected.decision.answer
            result.append(Pair(o.frames, prompt.act(o), *answers, best - worst))
    return sorted(result, key=lambda pair: -pair.margin)[:max_pairs]


def critiques(
    episodes: Sequence[Episode], share: float, kept: Sequence[Episode], rng: np.random.Generator
) -> list[Example]:
    """Questions whether an answer will work, half of them yes, answered by how the episode ended.

    At most `share` times as many as `kept` has steps, so that criticism does not crowd out acting.
    """
    n = int(share * sum(len(e.steps) for e in kept))
    steps = {True: [], False: []}
    for episode in episodes:
        if episode.ending != "broken":
            steps[episode.success] += episode.steps
    each = min(n // 2, len(steps[True]), len(steps[False]))
    result = []
    for success, verdict in zip((True, False), critic.VERDICTS, strict=True):
        for i in rng.choice(len(steps[success]), each, replace=False) if each else ():
            step = steps[success][i]
            question = prompt.judge(step.observation, step.decision.answer)
            result.append(Example(step.observation.frames, question, verdict))
    return result
