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

    outcomes: for each action, the step that took it first and the success of every attempt that took it.
    """

    outcomes: dict[bytes, tuple[Step, list[bool]]]

    def ranked(self) -> list[tuple[float, Step]]:
        """(success rate, step) of each action, worst first."""
        rated = [(float(np.mean(successes)), step) for step, successes in self.outcomes.values()]
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
        yield Fork({a: (e[0].steps[depth], [x.success for x in e]) for a, e in branches.items()})
    for branch in branches.values():
        if len(branch) > 1:
            yield from _forks(branch, depth + 1)


def pairs(episodes: Iterable[Episode], min_margin: float, max_pairs: int) -> list[Pair]:
    """The best against the worst answer of each fork whose success rates differ by `min_margin` or more.

    At most `max_pairs`, those of the largest margin.
    """
    result = []
    for fork in forks(episodes):
        (worst, rejected), *_, (best, chosen) = fork.ranked()
        if best - worst >= min_margin:
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
