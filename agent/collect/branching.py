"""Branching: restore a state of an episode, take another answer there, and roll out the rest to measure its outcome.

A branch is stored as a whole attempt from its start. It shares its first steps with the episode that it branched from,
so that selection and pairs treat branches as they treat attempts.
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
from envs.foreign.actions import key
from envs.registry import task
from envs.snapshot import Snapshot
from policies.base import Decision

T = TypeVar("T")
BATCH = 32  # failures, or starts, of one batch; the step limit is checked between batches
DRAWS = 3  # answers drawn for each answer wanted: several draws may decode to the same action

Rollout = Callable[[str, Job], list[Episode]]  # title of a progress bar, job -> one episode for each start


@dataclass(frozen=True)
class Point:
    """The state of an episode before its step `step`. Without a snapshot, a restore repeats the actions so far."""

    episode: Episode
    step: int

    @property
    def moment(self) -> Moment:
        e, step = self.episode, self.episode.steps[self.step]
        snapshot = step.snapshot or Snapshot(
            e.seed,
            e.options or None,
            tuple(s.decision.action for s in e.steps[: self.step]),
            redrawn=self._redrawn_before,
        )
        return Moment(snapshot, step.observation, step.fingerprint)

    def start(self, attempt: int, repeat: int, first: Decision | None = None) -> Start:
        """A rollout from here, with the first decision given or left to the policy.

        Random draws depend on the repeat, not on the first decision: common random numbers across answers. So do the
        environment's, where its steps are random: those that the episode had would measure hindsight.
        """
        e, draws = self.episode, (self.episode.attempt, self.step, repeat)
        is_random = e.redrawn is not None
        events = int(np.random.SeedSequence([e.seed, *draws]).generate_state(1)[0]) if is_random else None
        return Start(e.seed, attempt, self.moment, first, draws, events)

    def graft(self, rest: Episode) -> Episode:
        """The branch as a whole episode: the steps before this point, then those of `rest`."""
        steps = [*self.episode.steps[: self.step], *rest.steps]
        redrawn = rest.redrawn
        if redrawn is not None:
            redrawn = (*self._redrawn_before, *((self.step + i, seed) for i, seed in redrawn))
        return replace(rest, steps=steps, branched_at=self.step, begins_at=None, redrawn=redrawn)

    @property
    def _redrawn_before(self) -> tuple[tuple[int, int], ...]:
        return tuple((i, seed) for i, seed in self.episode.redrawn or () if i < self.step)


class Branching:
    """Branches of episodes of the job's task.

    rollout: rolls out the job from other starts, under a title. first_attempt: the attempt number of the first branch.
    rng: draws failures and moments.
    """

    def __init__(self, workers: Workers, job: Job, rollout: Rollout, first_attempt: int, rng: np.random.Generator):
        self._workers, self._job, self._rollout, self._rng = workers, job, rollout, rng
        self._attempts = itertools.count(first_attempt)
        self._claim_errors: list[int] = []  # steps between the critic's claim and the moment that bisection found

    def roots(self, starts: Sequence[int]) -> list[Episode]:
        """One episode from each seed, with the job's settings as for branches; steps keep their snapshots."""
        first = next(self._attempts)
        job = replace(self._job, starts=[(seed, first) for seed in starts], snapshots=True)
        return self._rollout(f"root {self._job.task}", job)

    def explore(self, practised: Sequence[Episode], settings: Branch) -> list[Episode]:
        """The branches of at most `settings.failures` practised failures, taken round-robin over their starts."""
        of_start = defaultdict(list)
        for episode in failed(practised[i] for i in self._rng.permutation(len(practised))):
            of_start[episode.seed].append(episode)
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*of_start.values()))
        failures = [episode for episode in in_turn if episode][: settings.failures]
        return within(settings.env_steps, failures, BATCH, lambda some: self._branch(some, settings))

    def explore_own(self, starts: Sequence[int], settings: Branch) -> list[Episode]:
        """New root episodes, one from each seed, the branches of those that fail, and branches for the critic.

        The branches for the critic try other answers at `settings.anywhere` random moments of every root, failed or
        not.
        """

        def collect(some: Sequence[int]) -> list[Episode]:
            own = self.roots(some)
            tried = self._branch(failed(own), settings, root_measured=True)
            whole = [e for e in own if e.ending != "broken"]
            points = [point for e in whole for point in self.anywhere(e, settings.anywhere)]
            others = _and_own(points, self.others(points, settings.answers - 1, settings.temperature))
            return own + tried + self.measure(points, others, settings.repeats)

        return within(settings.env_steps, starts, BATCH, collect)

    def agreement(self) -> dict[str, float]:
        """How often the critic's claim was the moment that bisection found, or next to it; empty without bisection."""
        if not self._claim_errors:
            return {}
        exact, near = np.array(self._claim_errors) == 0, np.array(self._claim_errors) <= 1
        return {"critic_exact": float(exact.mean()), "critic_within_1": float(near.mean())}

    def _branch(self, failures: Sequence[Episode], settings: Branch, root_measured: bool = False) -> list[Episode]:
        """Branches of the failures.

        root_measured: the failures were rolled out with the settings of their branches. Their outcomes already measure
        their own answers, so that only other answers are tried, unless there was luck in them.
        """
        if settings.where == "bisect":
            points, played = self.bisected(failures, settings.repeats)
        else:
            points, played = self._points(failures, settings), []
        n = settings.answers - root_measured
        answers = self.answers(points, n, settings.temperature, others_only=root_measured)
        if root_measured:
            answers = _and_own(points, answers)
        return played + self.measure(points, answers, settings.repeats)

    def _points(self, failures: Sequence[Episode], settings: Branch) -> list[Point]:
        if settings.where == "early":
            return [Point(e, step) for e in failures for step in distinct_moments(e)[: settings.moments]]
        if settings.where == "uniform":
            return [point for e in failures for point in self.anywhere(e, settings.moments)]
        return self.claims(failures)

    def anywhere(self, episode: Episode, n: int) -> list[Point]:
        """At most `n` moments of an episode with an observation that it did not have before, drawn at random."""
        return [Point(episode, int(step)) for step in self._rng.permutation(distinct_moments(episode))[:n]]

    def bisected(self, failures: Sequence[Episode], repeats: int) -> tuple[list[Point], list[Episode]]:
        """As `last_chances`; also records the distance in steps of the critic's claims, for `agreement`."""
        points, played = self.last_chances(failures, repeats)
        self._claim_errors += [abs(p.step - c.step) for p, c in zip(points, self.claims(failures), strict=True)]
        return points, played

    def claims(self, failures: Sequence[Episode]) -> list[Point]:
        """The critic's claim of the step that lost each failed episode, from its verdicts on all answers (`claim`)."""
        steps = [step for e in failures for step in e.steps]
        answers = [step.decision.answer for step in steps]
        critiques = self._workers.query(judge, self._job, [step.observation for step in steps], answers)
        verdicts = (c.verdict for c in critiques)
        return [Point(e, claim(list(itertools.islice(verdicts, len(e.steps))))) for e in failures]

    def last_chances(self, failures: Sequence[Episode], repeats: int) -> tuple[list[Point], list[Episode]]:
        """The last moment of each failure from which success was still reached, and the branches that found it.

        Bisection: a moment is lost where none of `repeats` rollouts from it succeeds. The reset is assumed not to be
        lost, and every moment after a lost one to be lost.
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
        """At most `n` answers that the policy draws at each point, with distinct actions.

        consistent: keeps answers whose action equals the one that the recomputed thought calls for; training would drop
        the rest. others_only: drops answers with the action that the point's episode took.
        """
        draws = [(p.episode.seed, p.episode.attempt, p.step, k) for p in points for k in range(n * DRAWS)]
        observations = [p.moment.observation for p in points for _ in range(n * DRAWS)]
        drawn = self._workers.query(propose, replace(self._job, temperature=temperature), observations, draws)
        excluded = [[p.episode.steps[p.step].decision] if others_only else [] for p in points]
        each = (drawn[i : i + n * DRAWS] for i in range(0, len(drawn), n * DRAWS))
        chosen = task(self._job.task)
        every = [
            [d for d in some if not consistent or promising(chosen, p.moment.observation, d.answer)]
            for p, some in zip(points, each, strict=True)
        ]
        return [distinct(some, n, but) for some, but in zip(every, excluded, strict=True)]

    def others(self, points: Sequence[Point], n: int, temperature: float) -> list[list[Decision]]:
        """At most `n` other answers at each point, consistent or not, with actions that the episode did not take."""
        return self.answers(points, n, temperature, others_only=True, consistent=False)

    def measure(self, points: Sequence[Point], answers: Sequence[Sequence[Decision]], repeats: int) -> list[Episode]:
        """`repeats` rollouts after each answer at each point, with common random numbers across the answers."""
        return self._follow(
            "branch",
            [
                (point, repeat, answer)
                for point, tried in zip(points, answers, strict=True)
                for answer in tried
                for repeat in range(repeats)
            ],
        )

    def _follow(self, title: str, branches: Sequence[tuple[Point, int, Decision | None]]) -> list[Episode]:
        """One whole episode for each (point, repeat, first decision)."""
        if not branches:
            return []
        starts = [point.start(next(self._attempts), repeat, first) for point, repeat, first in branches]
        rests = self._rollout(f"{title} {self._job.task}", replace(self._job, starts=starts))
        return [point.graft(rest) for (point, _, _), rest in zip(branches, rests, strict=True)]


def _and_own(points: Sequence[Point], others: Sequence[list[Decision]]) -> list[list[Decision]]:
    """The answers to measure, with that of the point's own episode where random events had a part in its outcome."""
    return [
        [p.episode.steps[p.step].decision, *some] if some and p.episode.redrawn is not None else some
        for p, some in zip(points, others, strict=True)
    ]


def failed(episodes: Iterable[Episode]) -> list[Episode]:
    return [episode for episode in episodes if not episode.success and episode.ending != "broken"]


def distinct_moments(episode: Episode) -> list[int]:
    """The first step of each distinct observation: at later ones, another answer has less time left to succeed."""
    first: dict[bytes, int] = {}
    for i, step in enumerate(episode.steps):
        first.setdefault(step.observation.key(), i)
    return list(first.values())


def distinct(answers: Sequence[Decision], n: int, but: Sequence[Decision] = ()) -> list[Decision]:
    """The first `n` answers with distinct actions, none of them an action of `but`."""
    by_action: dict[bytes, Decision] = {}
    for answer in (*but, *answers):
        by_action.setdefault(key(answer.action), answer)
    return list(by_action.values())[len(but) : len(but) + n]


def claim(verdicts: Sequence[float]) -> int:
    """The step that lost an episode, by the critic's verdicts: the first below 0.5, or else the lowest."""
    doubtful = (i for i, verdict in enumerate(verdicts) if verdict < 0.5)
    return next(doubtful, min(range(len(verdicts)), key=verdicts.__getitem__))


def within(
    limit: int | None, items: Sequence[T], size: int, collect: Callable[[Sequence[T]], list[Episode]]
) -> list[Episode]:
    """Collect batches of `size` items until about `limit` environment steps are spent; all at once without a limit.

    Stops when the next batch, at the mean cost so far, is expected to overshoot by more than stopping undershoots.
    """
    if limit is None:
        return collect(items) if items else []
    played: list[Episode] = []
    for n, first in enumerate(range(0, len(items), size)):
        spent = sum(len(episode.own) for episode in played)
        if n and spent + spent / n / 2 > limit:
            break
        played += collect(items[first : first + size])
    return played
