"""Audit of a policy's critic on held-out episodes: its verdicts against outcomes that the simulator measures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from agent.collect.branching import Branching, failed
from agent.collect.workers import Job, Workers, judge
from agent.config import Critic, Tie
from agent.measure.statistics import best_of, heldout_gains, successes, verdict_scores
from agent.organise.episode import Episode
from agent.organise.outcome import outcomes_of
from agent.record.console import bar
from envs.errors import UserError
from envs.observation import Observation
from envs.registry import task
from envs.starts import distinct
from policies.backends.server.address import ServerAddress
from policies.backends.settings import ModelSettings

TEMPERATURE = 1.0  # of the answers that are tried, and of the sampled episodes, which add failures
TIE = Tie()
TRIED = 8  # most answers tried at a moment
REPEATS = 4  # rollouts that decide in bisection whether a moment was lost
SAMPLED = range(1, 5)  # numbers of the sampled attempts at each start; attempt 0 is greedy
FIRST_BRANCH = SAMPLED.stop


def audit(
    checkpoint: Path | ServerAddress,
    name: str,
    episodes: int,
    critic: Critic,
    workers: Workers,
    beside: Sequence[Path | ServerAddress] = (),
    model: ModelSettings | None = None,
    n_envs: int = 64,
    show: Callable[[str, list[Episode]], None] = lambda how, episodes: None,
) -> dict[str, Any]:
    """Audit the critic of one task on `episodes` distinct held-out starts, each played greedily and as in practice.

    ends: `verdict_scores` of its verdicts on the endings of its own episodes.
    ends_beside: the same with the episodes of the checkpoints `beside` at the same starts added, where there are any. A
    policy that hardly fails leaves few failures to score on.
    answers: `verdict_scores` of its verdicts on answers at one moment of each greedy episode. The label is whether the
    answer, followed greedily, ties with the best answer tried. Moments where no answer succeeded are left out.
    shuffled_*: the AUROC with the frames of other episodes; near chance for a critic that uses the frames.
    within: among `critic.proposals` of these answers, how often the best verdict is on one that ties with the best
    (`statistics.best_of`).
    best_of: among the same answers, the success rate after the greedy one, after the one with the best verdict, and
    after the one that the simulator found best (an oracle, which no policy has).
    acting: gain of whole episodes with criticism over those without.
    claims: how often the step that the critic blames for a failure is the one that bisection finds.

    show: is given the episodes, `greedy`, `sampled` and `criticised`, those of its own with its verdicts on their
    endings.

    Without branches, of a task whose episodes do not happen again, there are ends and acting alone.
    """
    starts, exact = distinct(task(name), "heldout", episodes), task(name).exact
    job = Job(name, checkpoint, (), n_envs=n_envs, model=model or ModelSettings())

    def collect(title: str, job: Job) -> list[Episode]:
        with bar(title, len(job.starts)) as progress:
            return workers.rollout(job, [progress])

    greedy = collect(f"greedy {name}", replace(job, starts=[(seed, 0) for seed in starts], snapshots=exact))
    successes(greedy)  # raises UserError where all are broken
    hot = replace(job, temperature=TEMPERATURE)
    sampled_starts = list(product(starts, SAMPLED))
    sampled = collect(f"sampled {name}", replace(hot, starts=sampled_starts, snapshots=exact))
    critical = collect(f"critical {name}", replace(job, starts=[(seed, 0) for seed in starts], critic=critic))
    rng = np.random.default_rng(0)
    ends, judged = _ends(job, workers, greedy + sampled, rng)
    for how, some in (("greedy", judged[: len(greedy)]), ("criticised", critical), ("sampled", judged[len(greedy) :])):
        show(how, [replace(e, steps=[replace(step, snapshot=None) for step in e.steps]) for e in some])
    elsewhere = [replace(hot, checkpoint=other, starts=sampled_starts) for other in beside]
    others = [e for other in elsewhere for e in collect(f"{name} by another", other)]
    if others:
        ends["ends_beside"] = _ends(job, workers, greedy + sampled + others, rng)[0]["ends"]
    acting = heldout_gains({name: greedy}, {name: critical})["heldout"][name]
    if not exact:
        return ends | {"acting": acting}
    branching = Branching(workers, replace(job, end_loops=True), collect, FIRST_BRANCH, rng)
    answers = _answers(job, workers, branching, greedy, critic.proposals, rng)
    claims = Branching(workers, hot, collect, FIRST_BRANCH, rng)
    claims.bisected(failed(e for e in sampled if e.attempt == SAMPLED.start), REPEATS)
    return ends | answers | {"acting": acting, "claims": claims.agreement()}


def _ends(
    job: Job, workers: Workers, episodes: Sequence[Episode], rng: np.random.Generator
) -> tuple[dict[str, Any], list[Episode]]:
    """The scores, and the episodes with the verdicts on their endings."""
    whole = [e for e in episodes if e.end]
    ends, outcomes = [e.end for e in whole], [e.success for e in whole]
    conclusions = workers.conclude(job, ends)
    shuffled = workers.conclude(job, _shuffled(ends, rng))
    scores = {
        "ends": verdict_scores([c.verdict for c in conclusions], outcomes),
        "shuffled_ends": verdict_scores([c.verdict for c in shuffled], outcomes)["auroc"],
    }
    by_id = dict(zip(map(id, whole), conclusions, strict=True))
    return scores, [replace(e, conclusion=by_id.get(id(e), e.conclusion)) for e in episodes]


def _answers(
    job: Job, workers: Workers, branching: Branching, episodes: Sequence[Episode], n: int, rng: np.random.Generator
) -> dict[str, Any]:
    points = [point for e in episodes if e.end for point in branching.anywhere(e, 1)]
    others = branching.others(points, max(TRIED, n) - 1, TEMPERATURE)
    tried = [[p.episode.steps[p.step].decision, *some] for p, some in zip(points, others, strict=True)]
    played, horizon = branching.measure(points, tried, 1), task(job.task).horizon
    each = [(i, decision.answer) for i, some in enumerate(tried) for decision in some]
    whole = [(*one, outcomes_of(e, horizon)[0]) for one, e in zip(each, played, strict=True) if e.ending != "broken"]
    if not whole:
        raise UserError(
            f"every branch of {job.task!r} broke; the first: {next((e.error for e in played), 'there is none')}"
        )
    of, answers, outcomes = (list(some) for some in zip(*whole, strict=True))  # of: index of each answer's point
    moments = [p.moment.observation for p in points]

    def verdicts(observations: Sequence[Observation]) -> np.ndarray:
        """(answers,) float, given the observation of each point."""
        return np.array([c.verdict for c in workers.query(judge, job, [observations[i] for i in of], answers)])

    judged, shuffled = verdicts(moments), verdicts(_shuffled(moments, rng))
    at = [np.flatnonzero(np.array(of) == i) for i in dict.fromkeys(of)]  # answers of each point, the greedy one first
    best = {i: max(value for j, value in zip(of, outcomes, strict=True) if j == i) for i in dict.fromkeys(of)}
    scored = np.array([best[i].success > 0 for i in of])  # answers of moments where any answer succeeded
    good = np.array([value.ties(best[i], TIE) for i, value in zip(of, outcomes, strict=True)])
    proposed = [some[:n] for some in at]
    choices = {
        "greedy": [outcomes[some[0]] for some in proposed],
        "critic": [outcomes[some[judged[some].argmax()]] for some in proposed],
        "oracle": [max(outcomes[j] for j in some) for some in proposed],
    }
    within = [
        [(float(judged[j]), outcomes[j].ties(top, TIE)) for j in some]
        for some, top in zip(proposed, choices["oracle"], strict=True)
        if top.success
    ]
    return {
        "answers": verdict_scores(judged[scored], good[scored]),
        "shuffled_answers": verdict_scores(shuffled[scored], good[scored])["auroc"],
        "within": best_of(within),
        "best_of": {name: float(np.mean([value.success > 0 for value in some])) for name, some in choices.items()},
    }


def _shuffled(observations: Sequence[Observation], rng: np.random.Generator) -> list[Observation]:
    """A control: the observations with their frames permuted."""
    order = rng.permutation(len(observations))
    return [replace(o, frames=observations[i].frames) for o, i in zip(observations, order, strict=True)]
