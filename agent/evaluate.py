"""Success with intervals, and two policies compared on the same episodes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from agent.episode import Episode
from envs.errors import UserError

RESAMPLES = 10_000


def rate(successes: Sequence[bool]) -> dict[str, Any]:
    """k of n with the Wilson 95 % interval. Raises ValueError for no episodes."""
    k, n = int(np.sum(successes)), len(successes)
    interval = stats.binomtest(k, n).proportion_ci(method="wilson")
    return {"k": k, "n": n, "rate": k / n, "ci95": [float(interval.low), float(interval.high)]}


def successes(episodes: Sequence[Episode]) -> np.ndarray:
    """(n,) bool. Broken episodes are no failures: they are left out. Raises UserError where all are broken."""
    whole = [e.success for e in episodes if e.ending != "broken"]
    if episodes and not whole:
        raise UserError(f"every episode of {episodes[0].task!r} broke; the first: {episodes[0].error}")
    return np.array(whole, bool)


def paired(before: Sequence[Episode], after: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) and (n,) bool: the successes of the episodes that both played whole, start by start.

    Raises ValueError for different starts, UserError where no episode was played whole by both.
    """
    starts = [(e.task, e.seed, e.attempt) for e in before]
    if starts != [(e.task, e.seed, e.attempt) for e in after]:
        raise ValueError("the episodes before and after have different starts")
    whole = [(b.success, a.success) for b, a in zip(before, after, strict=True) if "broken" not in (b.ending, a.ending)]
    if not whole:
        error = next((e.error for e in (*before, *after) if e.error), "there are none")
        raise UserError(f"no episode was played whole before and after; the first: {error}")
    both = np.array(whole, bool)
    return both[:, 0], both[:, 1]


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Exact two-sided p of McNemar's test (1947) on paired successes, (n,) and (n,) bool."""
    gained, lost = int(np.sum(~before & after)), int(np.sum(before & ~after))
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def mean_gain(differences: Sequence[np.ndarray]) -> tuple[float, list[float]]:
    """The mean over tasks of the mean difference of paired successes, and its bootstrap 95 % interval, in points.

    Each (n,) array holds one task's paired differences; episodes are resampled within their task.
    """
    points = 100 * float(np.mean([d.mean() for d in differences]))
    rng = np.random.default_rng(0)
    means = [rng.choice(d.astype(float), (RESAMPLES, len(d))).mean(axis=1) for d in differences]
    low, high = np.percentile(100 * np.mean(means, axis=0), [2.5, 97.5])
    return points, [float(low), float(high)]


def compare(before: Mapping[str, Sequence[Episode]], after: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    """`heldout` and `heldout_mean` of results.json: task -> paired episodes before and after."""
    pairs = {task: paired(before[task], after[task]) for task in before}
    tasks = {}
    for task, (b, a) in pairs.items():
        points, interval = mean_gain([a.astype(int) - b])
        gain = {"points": points, "ci95": interval, "p_value": mcnemar(b, a)}
        outcomes = {"before": outcome_string(before[task]), "after": outcome_string(after[task])}
        tasks[task] = {"before": rate(b), "after": rate(a), "gain": gain, "outcomes": outcomes}
    points, interval = mean_gain([a.astype(int) - b for b, a in pairs.values()])
    mean = {
        "before": float(np.mean([t["before"]["rate"] for t in tasks.values()])),
        "after": float(np.mean([t["after"]["rate"] for t in tasks.values()])),
        "gain_points": points,
        "ci95": interval,
    }
    return {"heldout": tasks, "heldout_mean": mean}


def outcome_string(episodes: Sequence[Episode]) -> str:
    """One character an episode: 1 success, 0 failure, - broken."""
    return "".join("-" if e.ending == "broken" else str(int(e.success)) for e in episodes)


def critic_scores(episodes: Sequence[Episode]) -> dict[str, float]:
    """How well the critic's verdicts foretold the outcome: AUROC (0.5 is chance) and Brier score (0 is best).

    Each is the mean over tasks, of those with successes and failures: knowing the easier task is no criticism.
    """
    judged: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for e in episodes:
        if e.ending != "broken":
            judged[e.task] += [(s.decision.verdict, e.success) for s in e.steps if s.decision.verdict is not None]
    scores = []
    for pairs in judged.values():
        verdicts, outcomes = np.array([v for v, _ in pairs]), np.array([o for _, o in pairs], bool)
        if outcomes.any() and not outcomes.all():
            u = stats.mannwhitneyu(verdicts[outcomes], verdicts[~outcomes]).statistic
            scores.append((u / (outcomes.sum() * (~outcomes).sum()), np.mean((verdicts - outcomes) ** 2)))
    auroc, brier = np.mean(scores, axis=0) if scores else (np.nan, np.nan)
    return {"auroc": float(auroc), "brier": float(brier)}
