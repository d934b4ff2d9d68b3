"""What a policy's criticism of itself is worth on held-out episodes: its verdicts, and what the simulator measures."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from agent.collect.branching import Branching, failed
from agent.collect.workers import Job, Workers, judge
from agent.config import Critic, Tie
from agent.measure.statistics import best_of, compare, verdict_scores
from agent.organise.episode import Episode
from agent.organise.outcome import outcomes_of
from agent.record.console import bar
from envs.observation import Observation
from envs.registry import task
from envs.splits import seeds

TEMPERATURE = 1.0  # of the answers that are tried, and of the episodes that are played to have failures too
TIE = Tie()
TRIED = 8  # answers to a moment, at most
REPEATS = 4  # episodes that decide whether a failure was lost at a moment
SAMPLED = range(1, 5)  # attempts at each start, as in practice, beside the greedy attempt 0
FIRST_BRANCH = SAMPLED.stop


def audit(
    checkpoint: Path,
    name: str,
    episodes: int,
    critic: Critic,
    workers: Workers,
    beside: Sequence[Path] = (),
    n_envs: int = 64,
) -> dict[str, Any]:
    """Audit the critic of one task on `episodes` held-out starts, each played greedily and as in practice.

    ends: `verdict_scores` of its conclusions, of its own episodes. ends_beside: of these and of episodes that other
    checkpoints play at the same starts, where there are any: a policy that hardly fails leaves few failures to know.
    answers: of verdicts on answers to a moment of each greedy episode, against whether an answer did as well as any
    that was tried, followed greedily; moments where none succeeded have no such answer. shuffled_*: the AUROCs with the
    frames of other episodes; chance, if the frames are looked at.
    within: of `critic.proposals` of these answers, how often the best verdict is on one that ties with the best of them
    (`statistics.best_of`). best_of: of the same answers, success after the greedy one, after the one that the critic
    likes best, and after the one that the simulator found to be best (an oracle: no policy can know that).
    acting: whole episodes with and without criticism. claims: how often the step that it says broke a failure is the
    one that bisection finds.
    """
    starts = list(seeds("heldout", episodes))
    job = Job(name, checkpoint, (), n_envs=n_envs)

    def play(title: str, job: Job) -> list[Episode]:
        with bar(title, len(job.starts)) as progress:
            return workers.rollout(job, [progress])

    greedy = play(f"greedy {name}", replace(job, starts=[(seed, 0) for seed in starts], snapshots=True))
    hot = replace(job, temperature=TEMPERATURE)
    sampled_starts = list(product(starts, SAMPLED))
    sampled = play(f"sampled {name}", replace(hot, starts=sampled_starts, snapshots=True))
    critical = play(f"critical {name}", replace(job, starts=[(seed, 0) for seed in starts], critic=critic))
    rng = np.random.default_rng(0)
    ends = _ends(job, workers, greedy + sampled, rng)
    others = [
        e for other in beside for e in play(f"{name} by another", replace(hot, checkpoint=other, starts=sampled_starts))
    ]
    if others:
        ends["ends_beside"] = _ends(job, workers, greedy + sampled + others, rng)["ends"]
    branching = Branching(workers, replace(job, end_loops=True), play, FIRST_BRANCH, rng)
    answers = _answers(job, workers, branching, greedy, critic.proposals, rng)
    claims = Branching(workers, hot, play, FIRST_BRANCH, rng)
    claims.bisected(failed(e for e in sampled if e.attempt == SAMPLED.start), REPEATS)
    acting = compare({name: greedy}, {name: critical})["heldout"][name]
    return ends | answers | {"acting": acting, "claims": claims.agreement()}


def _ends(job: Job, workers: Workers, episodes: Sequence[Episode], rng: np.random.Generator) -> dict[str, Any]:
    whole = [e for e in episodes if e.end]
    ends, outcomes = [e.end for e in whole], [e.success for e in whole]

    def scores(seen: Sequence[Observation]) -> dict[str, Any]:
        return verdict_scores([c.verdict for c in workers.conclude(job, seen)], outcomes)

    return {"ends": scores(ends), "shuffled_ends": scores(_shuffled(ends, rng))["auroc"]}


def _answers(
    job: Job, workers: Workers, branching: Branching, episodes: Sequence[Episode], n: int, rng: np.random.Generator
) -> dict[str, Any]:
    points = [point for e in episodes if e.end for point in branching.anywhere(e, 1)]
    others = branching.others(points, max(TRIED, n) - 1, TEMPERATURE)
    tried = [[p.episode.steps[p.step].decision, *some] for p, some in zip(points, others, strict=True)]
    played, horizon = branching.measure(points, tried, 1), task(job.task).horizon
    each = [(i, decision.answer) for i, some in enumerate(tried) for decision in some]
    whole = [(*one, outcomes_of(e, horizon)[0]) for one, e in zip(each, played, strict=True) if e.ending != "broken"]
    of, answers, outcomes = (list(some) for some in zip(*whole, strict=True))  # of: the point of each answer
    moments = [p.moment.observation for p in points]

    def verdicts(seen: Sequence[Observation]) -> np.ndarray:
        """(answers,), given what is seen at each point."""
        return np.array([c.verdict for c in workers.query(judge, job, [seen[i] for i in of], answers)])

    judged, blind = verdicts(moments), verdicts(_shuffled(moments, rng))
    at = [np.flatnonzero(np.array(of) == i) for i in dict.fromkeys(of)]  # answers of each point, the greedy one first
    best = {i: max(value for j, value in zip(of, outcomes, strict=True) if j == i) for i in dict.fromkeys(of)}
    told = np.array([best[i].success > 0 for i in of])
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
        "answers": verdict_scores(judged[told], good[told]),
        "shuffled_answers": verdict_scores(blind[told], good[told])["auroc"],
        "within": best_of(within),
        "best_of": {name: float(np.mean([value.success > 0 for value in some])) for name, some in choices.items()},
    }


def _shuffled(seen: Sequence[Observation], rng: np.random.Generator) -> list[Observation]:
    """Each with the frames of another."""
    return [replace(o, frames=seen[i].frames) for o, i in zip(seen, rng.permutation(len(seen)), strict=True)]
