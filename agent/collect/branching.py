"""What another answer would have brought: return to a moment of a failed episode, answer otherwise, play on.

A branch is an attempt like any other from its start: it shares its first steps with the episode that it left, so that
what is selected and preferred among attempts is selected and preferred among branches too.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from agent.collect.rollout import Start
from agent.collect.workers import Job, Workers, judge, propose
from agent.config import Branch
from agent.organise.episode import Episode, Moment
from agent.organise.selection import promising
from envs.registry import task
from envs.snapshot import Snapshot
from policies.base import Decision

T = TypeVar("T")
POINTS_AT_ONCE = 32  # failures, or starts, between two looks at what was spent
DRAWS = 3  # times as many answers are drawn as are wanted: some act alike

Play = Callable[[str, Job], list[Episode]]  # title, job


@dataclass(frozen=True)
class Point:
    """Before the `step`-th step of an episode. Without the step's snapshot the way back are the actions before it."""

    episode: Episode
    step: int

    @property
    def moment(self) -> Moment:
        e, step = self.episode, self.episode.steps[self.step]
        way = tuple(s.decision.action for s in e.steps[: self.step])
        return Moment(step.snapshot or Snapshot(e.seed, e.options or None, way), step.observation, step.fingerprint)

    def start(self, attempt: int, repeat: int, first: Decision | None = None) -> Start:
        """Play on from here. The draws are the repeat's, whatever is answered first: common random numbers."""
        draws = self.episode.attempt, self.step, repeat
        return Start(self.episode.seed, attempt, self.moment, first, draws)

    def graft(self, rest: Episode) -> Episode:
        """What led here, and what followed."""
        steps = [*self.episode.steps[: self.step], *rest.steps]
        return replace(rest, steps=steps, branched_at=self.step, begins_at=None)


class Branching:
    """Branches of episodes of the job's task.

    play: plays the job with other starts, under a title. first_attempt: branches are numbered from there on. rng:
    chooses among failures and moments.
    """

    def __init__(self, workers: Workers, job: Job, play: Play, first_attempt: int, rng: np.random.Generator):
        self._workers, self._job, self._play, self._rng = workers, job, play, rng
        self._attempts = itertools.count(first_attempt)
        self._apart: list[int] = []  # steps between the critic's claim and what bisection found

    def roots(self, starts: Sequence[int]) -> list[Episode]:
        """One episode from each start, a seed, played as branches are followed; its steps keep their snapshots."""
        first = next(self._attempts)
        job = replace(self._job, starts=[(seed, first) for seed in starts], snapshots=True)
        return self._play(f"root {self._job.task}", job)

    def explore(self, practised: Sequence[Episode], settings: Branch) -> list[Episode]:
        """Every branch of some failures: of one from each start, then of another from each, and so on."""
        of_start = defaultdict(list)
        for episode in failed(practised[i] for i in self._rng.permutation(len(practised))):
            of_start[episode.seed].append(episode)
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*of_start.values()))
        failures = [episode for episode in in_turn if episode][: settings.failures]
        return within(settings.env_steps, failures, POINTS_AT_ONCE, lambda some: self._branch(some, settings))

    def explore_own(self, starts: Sequence[int], settings: Branch) -> list[Episode]:
        """One episode from each start, a seed, played as branches are followed; and every branch of those that fail.

        And whatever else it might answer at moments of any drawn at random, for the critic.
        """

        def play(some: Sequence[int]) -> list[Episode]:
            own = self.roots(some)
            tried = self._branch(failed(own), settings, known=True)  # its own answers were followed alike
            points = [point for e in own if e.end for point in self.anywhere(e, settings.anywhere)]
            others = self.others(points, settings.answers - 1, settings.temperature)
            return own + tried + self.measure(points, others, settings.repeats)

        return within(settings.env_steps, starts, POINTS_AT_ONCE, play)

    def agreement(self) -> dict[str, float]:
        """How often the critic named the moment that bisection found, where that was looked for."""
        if not self._apart:
            return {}
        exact, near = np.array(self._apart) == 0, np.array(self._apart) <= 1
        return {"critic_exact": float(exact.mean()), "critic_within_1": float(near.mean())}

    def _branch(self, failures: Sequence[Episode], settings: Branch, known: bool = False) -> list[Episode]:
        if settings.where == "bisect":
            points, played = self.bisected(failures, settings.repeats)
        else:
            points, played = self._points(failures, settings), []
        answers = self.answers(points, settings.answers - known, settings.temperature, others_only=known)
        return played + self.measure(points, answers, settings.repeats)

    def _points(self, failures: Sequence[Episode], settings: Branch) -> list[Point]:
        if settings.where == "early":
            return [Point(e, step) for e in failures for step in distinct_moments(e)[: settings.moments]]
        if settings.where == "uniform":
            return [point for e in failures for point in self.anywhere(e, settings.moments)]
        return self.claims(failures)

    def anywhere(self, episode: Episode, n: int) -> list[Point]:
        """At most `n` moments of an episode that saw something new, drawn at random."""
        return [Point(episode, int(step)) for step in self._rng.permutation(distinct_moments(episode))[:n]]

    def bisected(self, failures: Sequence[Episode], repeats: int) -> tuple[list[Point], list[Episode]]:
        """As `last_chances`, and how far from these the critic's claims are is remembered."""
        points, played = self.last_chances(failures, repeats)
        self._apart += [abs(p.step - c.step) for p, c in zip(points, self.claims(failures), strict=True)]
        return points, played

    def claims(self, failures: Sequence[Episode]) -> list[Point]:
        """The step that broke each failure, as the critic has it."""
        steps = [step for e in failures for step in e.steps]
        answers = [step.decision.answer for step in steps]
        critiques = self._workers.ask(judge, self._job, [step.observation for step in steps], answers)
        verdicts = (c.verdict for c in critiques)
        return [Point(e, claim(list(itertools.islice(verdicts, len(e.steps))))) for e in failures]

    def last_chances(self, failures: Sequence[Episode], repeats: int) -> tuple[list[Point], list[Episode]]:
        """For each failure the last moment from which it was not lost yet, and the branches played to find it.

        By bisection: a moment counts as lost where none of `repeats` episodes played on from it succeeds. The start is
        taken as not lost, and a moment after a lost one as lost.
        """
        alive, lost = [0] * len(failures), [len(episode.steps) for episode in failures]
        played = []
        while unsure := [i for i in range(len(failures)) if lost[i] - alive[i] > 1]:
            middles = [Point(failures[i], (alive[i] + lost[i]) // 2) for i in unsure]
            branches = self._follow("bisect", [(point, repeat, None) for point in middles for repeat in range(repeats)])
            for n, (i, point) in enumerate(zip(unsure, middles, strict=True)):
                if any(branch.success for branch in branches[n * repeats : (n + 1) * repeats]):
                    alive[i] = point.step
                else:
                    lost[i] = point.step
            played += branches
        return [Point(*where) for where in zip(failures, alive, strict=True)], played

    def answers(
        self, points: Sequence[Point], n: int, temperature: float, others_only: bool = False, consistent: bool = True
    ) -> list[list[Decision]]:
        """The policy's own answers to each point, at most `n`, distinct in what they do.

        consistent: only those whose action is what they call for once their thought is put right: hindsight would leave
        no other to be imitated or preferred, whatever followed.
        others_only: distinct from what the point's episode did as well.
        """
        draws = [(p.episode.seed, p.episode.attempt, p.step, k) for p in points for k in range(n * DRAWS)]
        observations = [p.moment.observation for p in points for _ in range(n * DRAWS)]
        drawn = self._workers.ask(propose, replace(self._job, temperature=temperature), observations, draws)
        taken = [[p.episode.steps[p.step].decision] if others_only else [] for p in points]
        each = (drawn[i : i + n * DRAWS] for i in range(0, len(drawn), n * DRAWS))
        chosen = task(self._job.task)
        every = [
            [d for d in some if not consistent or promising(chosen, p.moment.observation, d.answer)]
            for p, some in zip(points, each, strict=True)
        ]
        return [distinct(some, n, but) for some, but in zip(every, taken, strict=True)]

    def others(self, points: Sequence[Point], n: int, temperature: float) -> list[list[Decision]]:
        """What else it might answer at each point, consistent or not, at most `n`."""
        return self.answers(points, n, temperature, others_only=True, consistent=False)

    def measure(self, points: Sequence[Point], answers: Sequence[Sequence[Decision]], repeats: int) -> list[Episode]:
        """Each answer to each point, followed through `repeats` times with common random numbers."""
        return self._follow(
            "branch",
            [
                (point, repeat, answer)
                for point, tried in zip(points, answers, strict=True)
                for answer in tried
                for repeat in range(repeats)
            ],
        )

    def _follow(self, title: str, ways: Sequence[tuple[Point, int, Decision | None]]) -> list[Episode]:
        if not ways:
            return []
        starts = [point.start(next(self._attempts), repeat, first) for point, repeat, first in ways]
        played = self._play(f"{title} {self._job.task}", replace(self._job, starts=starts))
        return [point.graft(rest) for (point, _, _), rest in zip(ways, played, strict=True)]


def failed(episodes: Iterable[Episode]) -> list[Episode]:
    return [episode for episode in episodes if not episode.success and episode.ending != "broken"]


def distinct_moments(episode: Episode) -> list[int]:
    """The steps that saw something for the first time: later there is less time left for another answer."""
    first: dict[bytes, int] = {}
    for i, step in enumerate(episode.steps):
        first.setdefault(step.observation.key(), i)
    return list(first.values())


def distinct(answers: Sequence[Decision], n: int, but: Sequence[Decision] = ()) -> list[Decision]:
    """The first `n` answers that act differently, from those of `but` too."""
    by_action: dict[bytes, Decision] = {}
    for answer in (*but, *answers):
        by_action.setdefault(answer.action.tobytes(), answer)
    return list(by_action.values())[len(but) : len(but) + n]


def claim(verdicts: Sequence[float]) -> int:
    """The step that broke an episode, as its critic has it: the first that will not work, or the most doubtful."""
    doubtful = (i for i, verdict in enumerate(verdicts) if verdict < 0.5)
    return next(doubtful, min(range(len(verdicts)), key=verdicts.__getitem__))


def within(
    limit: int | None, items: Sequence[T], size: int, play: Callable[[Sequence[T]], list[Episode]]
) -> list[Episode]:
    """Play batches of `size` items until about `limit` environment steps are spent; all at once without a limit.

    Not the batch that, at the mean of those before, would end farther beyond the limit than it begins below.
    """
    if limit is None:
        return play(items) if items else []
    played: list[Episode] = []
    for n, first in enumerate(range(0, len(items), size)):
        spent = sum(len(episode.own) for episode in played)
        if n and spent + spent / n / 2 > limit:
            break
        played += play(items[first : first + size])
    return played
