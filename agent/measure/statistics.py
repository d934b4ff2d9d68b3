"""Success rates with intervals, paired gains of one policy over another, and scores of a critic's verdicts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import comb
from typing import Any

import numpy as np
from scipy import stats

from agent.organise.episode import Episode, whole_by_task
from envs.errors import UserError

RESAMPLES = 10_000
BINS = 5  # of a reliability diagram (calibration)


def rate(successes: Sequence[bool]) -> dict[str, Any]:
    """A RATE of results.json: k of n with the Wilson 95 % interval. Raises ValueError for no episodes."""
    k, n = int(np.sum(successes)), len(successes)
    interval = stats.binomtest(k, n).proportion_ci(method="wilson")
    return {"k": k, "n": n, "rate": k / n, "ci95": [float(interval.low), float(interval.high)]}


def pass_at(episodes: Sequence[Episode], k: int) -> dict[str, Any]:
    """A RATE whose `k` of `n` are episodes, and whose rate is pass@k: the share of starts of which at least one of `k`
    attempts succeeds, estimated without bias from all attempts of each (Chen et al., 2021, arXiv:2107.03374). The 95 %
    interval is a bootstrap over starts, as attempts of one start are alike.

    Starts with an attempt that broke are left out. Raises UserError where that leaves none.
    """
    starts = defaultdict(list)
    for e in episodes:
        starts[e.seed].append(e)
    whole = [successes(some) for some in starts.values() if all(e.ending != "broken" for e in some)]
    if not whole:
        raise UserError(f"of every start of {episodes[0].task!r} an attempt broke")
    passed = np.array([1 - comb(int(np.sum(~s)), k) / comb(len(s), k) for s in whole])
    means = np.random.default_rng(0).choice(passed, (RESAMPLES, len(passed))).mean(axis=1)
    interval = [float(bound) for bound in np.percentile(means, [2.5, 97.5])]
    k_n = {"k": int(sum(map(np.sum, whole))), "n": sum(map(len, whole))}
    return k_n | {"rate": float(passed.mean()), "ci95": interval}


def successes(episodes: Sequence[Episode]) -> np.ndarray:
    """(n,) bool, of the episodes that are not broken. Raises UserError where all are broken."""
    whole = [e.success for e in episodes if e.ending != "broken"]
    if episodes and not whole:
        raise UserError(f"every episode of {episodes[0].task!r} broke; the first: {episodes[0].error}")
    return np.array(whole, bool)


def whole_pairs(before: Sequence[Episode], after: Sequence[Episode]) -> list[tuple[Episode, Episode]]:
    """The episodes that broke on neither side, matched by (task, seed, attempt), in the order of those before.

    An episode that broke on one side leaves both, whether the other side has it or not. Raises ValueError for other
    differences between the starts, and for a start that one side holds twice.
    """
    sides = [{(e.task, e.seed, e.attempt): e for e in side} for side in (before, after)]
    for side, episodes in zip(sides, (before, after), strict=True):
        if len(side) < len(episodes):
            raise ValueError(f"{len(episodes)} episodes of {len(side)} starts: a start is there twice")
    b, a = sides
    unmatched = [key for key in b.keys() ^ a.keys() if (b.get(key) or a[key]).ending != "broken"]
    if unmatched:
        raise ValueError(f"the episodes before and after have different starts: {min(unmatched)} is on one side only")
    return [(b[k], a[k]) for k in b if k in a and "broken" not in (b[k].ending, a[k].ending)]


def paired(before: Sequence[Episode], after: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) and (n,) bool: the successes before and after, of the episodes that broke on neither side (`whole_pairs`).

    Raises ValueError for different starts, and UserError where every pair has a broken episode.
    """
    whole = [(b.success, a.success) for b, a in whole_pairs(before, after)]
    if not whole:
        error = next((e.error for e in (*before, *after) if e.error), "there are none")
        tasks = " or ".join(repr(task) for task in dict.fromkeys(e.task for e in before)) or "a task"
        raise UserError(f"no episode of {tasks} was played whole before and after; the first: {error}")
    both = np.array(whole, bool)
    return both[:, 0], both[:, 1]


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Exact two-sided p of McNemar's test (1947) on paired successes, (n,) and (n,) bool."""
    return sign_test(int(np.sum(~before & after)), int(np.sum(before & ~after)))


@cache
def sign_test(gained: int, lost: int, worse: bool = False) -> float:
    """Exact p of the sign test on discordant pairs: two-sided, or one-sided for more losses where `worse` is set."""
    n = gained + lost
    more = lost if worse else max(gained, lost)
    p = float(stats.binom.sf(more - 1, n, 0.5))
    return p if worse else min(1.0, 2 * p)


def mean_gain(differences: Sequence[np.ndarray]) -> tuple[float, list[float]]:
    """The mean over tasks of the mean difference of paired successes, and its bootstrap 95 % interval, in points.

    Each (n,) array holds one task's paired differences; episodes are resampled within their task.
    """
    points = 100 * float(np.mean([d.mean() for d in differences]))
    rng = np.random.default_rng(0)
    means = [rng.choice(d.astype(float), (RESAMPLES, len(d))).mean(axis=1) for d in differences]
    low, high = np.percentile(100 * np.mean(means, axis=0), [2.5, 97.5])
    return points, [float(low), float(high)]


def heldout_gains(
    before: Mapping[str, Sequence[Episode]], after: Mapping[str, Sequence[Episode]] | None
) -> dict[str, Any]:
    """`heldout` and `heldout_mean` of results.json, from task -> its episodes before and after, at the same starts.

    after: None while a run is not complete; what it takes part in is None then.
    """
    if after is None:
        rates = {task: rate(successes(episodes)) for task, episodes in before.items()}
        mean = {"before": float(np.mean([r["rate"] for r in rates.values()]))}
        return {
            "heldout": {task: {"before": r, "after": None, "gain": None} for task, r in rates.items()},
            "heldout_mean": mean | dict.fromkeys(("after", "gain_points", "ci95")),
        }
    pairs = {task: paired(before[task], after[task]) for task in before}
    tasks = {}
    for task, (b, a) in pairs.items():
        points, interval = mean_gain([a.astype(int) - b])
        gain = {"points": points, "ci95": interval, "p_value": mcnemar(b, a)}
        outcomes = {"before": outcome_string(before[task]), "after": outcome_string(after[task])}
        seeds = [e.seed for e in before[task]]  # of the outcomes: which starts they are of
        tasks[task] = {"before": rate(b), "after": rate(a), "gain": gain, "outcomes": outcomes, "seeds": seeds}
    points, interval = mean_gain([a.astype(int) - b for b, a in pairs.values()])
    mean = {
        "before": float(np.mean([t["before"]["rate"] for t in tasks.values()])),
        "after": float(np.mean([t["after"]["rate"] for t in tasks.values()])),
        "gain_points": points,
        "ci95": interval,
    }
    return {"heldout": tasks, "heldout_mean": mean}


def outcome_string(episodes: Sequence[Episode]) -> str:
    """One character per episode: 1 success, 0 failure, - broken."""
    return "".join("-" if e.ending == "broken" else str(int(e.success)) for e in episodes)


def verdict_scores(verdicts: Sequence[float], outcomes: Sequence[bool]) -> dict[str, Any]:
    """Discrimination and calibration of (n,) verdicts in [0, 1] against (n,) boolean outcomes.

    auroc: 0.5 is chance. balanced_accuracy: at a threshold of 0.5. brier: score, 0 is best. base_brier: that of always
    saying the base rate. reliability: of each non-empty bin of BINS equal ones, the mean verdict, the share of true
    outcomes and the count. k of n outcomes are true. The scores are NaN where all outcomes are equal or there are none.
    """
    p, y = np.asarray(verdicts, float), np.asarray(outcomes, bool)
    scores: dict[str, Any] = dict.fromkeys(("auroc", "balanced_accuracy", "brier", "base_brier"), float("nan"))
    if y.any() and not y.all():
        u = stats.mannwhitneyu(p[y], p[~y]).statistic
        scores["auroc"] = float(u / (y.sum() * (~y).sum()))
        scores["balanced_accuracy"] = float(((p[y] >= 0.5).mean() + (p[~y] < 0.5).mean()) / 2)
        scores["brier"] = float(np.mean((p - y) ** 2))
        scores["base_brier"] = float(y.mean() * (1 - y.mean()))
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    reliability = [[float(p[bins == b].mean()), float(y[bins == b].mean()), int((bins == b).sum())] for b in set(bins)]
    return scores | {"k": int(y.sum()), "n": len(y), "reliability": sorted(reliability)}


def critic_scores(answers: Iterable[Sequence[tuple[float, bool]]], episodes: Sequence[Episode]) -> dict[str, Any]:
    """Scores of the verdicts on answers, and under `ends` of the verdicts on the endings of episodes.

    answers: for each task, (verdict, label). Each number is the mean over the tasks that have both labels: a critic
    that only knows which task is easier scores chance.
    """
    ends = [
        [(e.conclusion.verdict, e.success) for e in some if e.conclusion] for some in whole_by_task(episodes).values()
    ]
    ends_scores = _mean_scores(ends, ("auroc", "balanced_accuracy", "brier"))
    return _mean_scores(answers, ("auroc", "brier")) | {"ends": ends_scores}


def acted_on(episodes: Sequence[Episode]) -> list[list[tuple[float, bool]]]:
    """For each task, (verdict, success of the episode) of every answer that was acted on and judged."""
    return [
        [(s.decision.verdict, e.success) for e in some for s in e.steps if s.decision.verdict is not None]
        for some in whole_by_task(episodes).values()
    ]


def best_of(moments: Sequence[Sequence[tuple[float, bool]]]) -> dict[str, Any]:
    """How often the answer with the best verdict at a moment is a good one.

    moments: for each, (verdict, good) of its answers. Only the n moments with good and bad answers count. best: the
    share of these moments. chance: the mean share of good answers, which a random choice would reach. NaN without such
    moments.
    """
    decided = [moment for moment in moments if len({good for _, good in moment}) == 2]
    if not decided:
        return {"best": float("nan"), "chance": float("nan"), "n": 0}
    best = [max(moment, key=lambda answer: answer[0])[1] for moment in decided]
    chance = [np.mean([good for _, good in moment]) for moment in decided]
    return {"best": float(np.mean(best)), "chance": float(np.mean(chance)), "n": len(decided)}


def _mean_scores(tasks: Iterable[Sequence[tuple[float, bool]]], names: Sequence[str]) -> dict[str, float]:
    scores = [verdict_scores(*zip(*judged, strict=True)) for judged in tasks if judged]
    both = [s for s in scores if not np.isnan(s["auroc"])]
    return {name: float(np.mean([s[name] for s in both])) if both else float("nan") for name in names}
