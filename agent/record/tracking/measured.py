"""Metrics of what `handeye eval` and `handeye audit` measure, under the names of docs/metrics.md."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from agent.organise.episode import Episode
from agent.record.rundir import flat
from agent.record.tracking.tables import episode_rows
from agent.record.tracking.tracker import Tracker


def log_evaluation(tracker: Tracker, told: Mapping[str, Any], episodes: Sequence[Episode]) -> None:
    """told: what `handeye eval --json` writes. Held-out episodes have the names of `handeye improve`."""
    split = "held-out" if told["split"] == "heldout" else told["split"]
    result, whole = told["result"], [e for e in episodes if e.ending != "broken"]
    low, high = result["ci95"]
    numbers = {
        "success": result["rate"],
        "ci95_low": low,
        "ci95_high": high,
        "reward": np.mean([e.total_reward for e in whole]),
        "steps": np.mean([len(e.steps) for e in whole]),
        "broken": len(episodes) - len(whole),
    }
    tracker.table(f"{split}/episodes", lambda folder: episode_rows(episodes, tracker.films, folder))
    tracker.log({f"{split}/{told['task']}/{name}": float(value) for name, value in numbers.items()})


def log_audit(tracker: Tracker, results: Mapping[str, Any]) -> None:
    """results: task -> what `audit` of agent.measure returns."""
    numbers = {}
    for name, value in flat({"audit": results}, "/").items():
        if name.endswith("/ci95"):
            numbers |= dict(zip((f"{name}_low", f"{name}_high"), value, strict=True))
        elif isinstance(value, Real):
            numbers[name] = float(value)
    tracker.log(numbers)
