"""Criticise: score the critic's verdicts, on answers with measured outcomes and on endings at the gate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.collect.workers import Job, judge
from agent.measure.statistics import best_of, critic_scores
from agent.organise.critiques import Measured, measured
from agent.stages.round import Round
from agent.stages.stage import stage


@stage
def criticise(r: Round, incumbent: Path) -> dict[str, Any]:
    """`critic` of the round's row.

    `Round.brancher` judges the answers: their outcomes were not in its training data. auroc, brier: against whether an
    answer ties with the best, over all answers of a task. best_of: within a moment, which is what acting uses. ends:
    the candidate's verdicts on the endings of its own gate episodes.
    """
    tried = r.branches() + r.unbranched(lambda: r.episodes("episodes"))
    critic = r.brancher(incumbent)
    judged = [
        _judged(r, r.job(task, critic), moments) for task, moments in measured(tried, r.config.select.tie).items()
    ]
    by_task = [[answer for moment in task for answer in moment] for task in judged]
    moments = [moment for task in judged for moment in task]
    return {"critic": critic_scores(by_task, r.episodes("gate/candidate")) | {"best_of": best_of(moments)}}


def _judged(r: Round, job: Job, moments: Sequence[Measured]) -> list[list[tuple[float, bool]]]:
    """For each moment, (verdict, whether the answer ties with the best) of each answer."""
    answered = [(moment.observation, answer) for moment in moments for answer in moment.answers]
    critiques = iter(r.workers.query(judge, job, [o for o, _ in answered], [a for _, a in answered]))
    return [[(next(critiques).verdict, good) for good in moment.good] for moment in moments]
