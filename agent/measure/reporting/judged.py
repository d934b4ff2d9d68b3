"""The critic's verdicts on the endings of episodes, scored with intervals, and its worst mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from agent.measure.statistics import verdict_scores
from agent.organise.episode import Episode, whole_by_task
from agent.record.report.contents import Critic, CriticRow, Score
from agent.record.report.reading import Run

RESAMPLES = 2000  # of the bootstrap
WORST = 12  # mistakes that are named


def judged(run: Run, numbers: Mapping[int, int]) -> Critic:
    """The candidates' verdicts on the endings of their own gate episodes, which are in no training data.

    numbers: id of an episode -> its number in the report.
    """
    rows, ends = [], []
    for number in run.rounds:
        some = [e for e in run.of(number, "gate/candidate") if e.conclusion and e.ending != "broken"]
        if some or "critic" in run.rows[number]:
            rows.append(_critic_row(number, some, run.rows[number].get("critic", {})))
        ends += some
    pooled = verdict_scores([e.conclusion.verdict for e in ends], [e.success for e in ends])
    mistakes = [e for e in ends if (e.conclusion.verdict >= 0.5) != e.success]
    worst = sorted(mistakes, key=lambda e: -abs(e.conclusion.verdict - e.success))
    return Critic(rows, pooled["reliability"], len(ends), [numbers[id(e)] for e in worst[:WORST]])


def _critic_row(number: int, episodes: Sequence[Episode], recorded: Mapping[str, Any]) -> CriticRow:
    by_task = [
        (np.array([e.conclusion.verdict for e in some]), np.array([e.success for e in some]))
        for some in whole_by_task(episodes).values()
    ]
    auroc, accuracy = (_interval(by_task, name) for name in ("auroc", "balanced_accuracy"))
    answers = {key: value for key, value in recorded.items() if key != "ends"}
    return CriticRow(number, len(episodes), sum(e.success for e in episodes), auroc, accuracy, answers)


def _interval(by_task: Sequence[tuple[np.ndarray, np.ndarray]], name: str) -> Score:
    """The mean over the tasks with both labels, as `critic_scores` has it, and its bootstrap 95 % interval: episodes
    are resampled within their task and label, so that no sample is without one of them."""
    both = [(verdicts, labels) for verdicts, labels in by_task if labels.any() and not labels.all()]
    if not both:
        return Score(None, None)
    score = _auroc if name == "auroc" else _balanced_accuracy
    rng = np.random.default_rng(0)
    means = np.zeros(RESAMPLES)
    for verdicts, labels in both:
        sides = verdicts[labels], verdicts[~labels]
        drawn = [rng.choice(side, (RESAMPLES, len(side))) for side in sides]
        means += score(*drawn) / len(both)
    value = np.mean([score(v[y][None], v[~y][None])[0] for v, y in both])
    return Score(float(value), [float(x) for x in np.percentile(means, [2.5, 97.5])])


def _auroc(won: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """(samples,) from verdicts (samples, n) and (samples, m): Mann and Whitney's U over n * m."""
    n, m = won.shape[1], lost.shape[1]
    ranks = stats.rankdata(np.concatenate([won, lost], axis=1), axis=1)[:, :n].sum(axis=1)
    return (ranks - n * (n + 1) / 2) / (n * m)


def _balanced_accuracy(won: np.ndarray, lost: np.ndarray) -> np.ndarray:
    return ((won >= 0.5).mean(axis=1) + (lost < 0.5).mean(axis=1)) / 2
