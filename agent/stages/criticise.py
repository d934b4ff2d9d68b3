"""Criticise: what the critic's verdicts are worth, on answers that were measured and on endings at the gate."""

from collections.abc import Sequence
from typing import Any

from agent.collect.workers import judge
from agent.measure.statistics import best_of, critic_scores
from agent.organise.critiques import Measured, measured
from agent.stages.round import Round


def criticise(r: Round) -> dict[str, Any]:
    """`critic` of the round's row. The imitator is asked about the answers: it was not taught yet what they brought.

    auroc, brier: of which answers tie with the best, over all answers of a task. best_of: the same within a moment,
    which is what acting uses. ends: of the candidate's verdicts on its own endings.
    """
    tried = r.episodes("branches") or r.episodes("episodes")
    judged = [_judged(r, task, moments) for task, moments in measured(tried, r.config.select.tie).items()]
    everything = [[answer for moment in task for answer in moment] for task in judged]
    moments = [moment for task in judged for moment in task]
    return {"critic": critic_scores(everything, r.episodes("gate/candidate")) | {"best_of": best_of(moments)}}


def _judged(r: Round, task: str, moments: Sequence[Measured]) -> list[list[tuple[float, bool]]]:
    """For each moment its answers' verdicts, and whether each answer ties with the best."""
    said = [(moment.observation, answer) for moment in moments for answer in moment.answers]
    critiques = iter(
        r.workers.query(judge, r.job(task, r.imitator), [o for o, _ in said], [answer for _, answer in said])
    )
    return [[(next(critiques).verdict, good) for good in moment.good] for moment in moments]
