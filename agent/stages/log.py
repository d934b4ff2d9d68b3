"""Log: what a run shows in its sinks of metrics (`agent.record.tracking`) beside the lines that stages log as they go.

Nothing here enters a result.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.config.optimisers import stores
from agent.record.provenance import FILE
from agent.record.rundir import RunDir
from agent.record.tables import points
from agent.record.tracking import ENV_STEPS, TrackedJob, Tracker
from agent.record.tracking.job import Artifact
from agent.record.tracking.tables import Rows, episode_rows
from agent.stages.round import Round
from agent.stages.stage import stage


def tracker_of(config: Config, run: RunDir, budget: Mapping[str, int]) -> Tracker:
    """A run's tracker, whose x-axis is the environment steps of practice and branches in the budget."""
    path = run.path / "config.yaml"
    job = TrackedJob("improve", shlex.join(["handeye", "improve", str(path), "--out", "OUT"]), _tags(config.tasks))

    def axes() -> dict[str, float]:
        return {ENV_STEPS: budget["practice_env_steps"] + budget["branch_env_steps"]}

    return Tracker(run.path, config.tracking, asdict(config), run.journal.metrics, job, axes)


def log_seed(r: Round, checkpoint: Path) -> None:
    """The seed policy as an artifact that the run used."""
    r.tracker.artifact(Artifact(_policy_name(r, checkpoint), "policy", checkpoint, used=True))


def _policy_name(r: Round, checkpoint: Path) -> str:
    """The name of a policy's artifact: that of the run which made it, so that a later run uses the same artifact."""
    signed = checkpoint / FILE
    made = json.loads(signed.read_text()) if signed.is_file() else {}
    return f"{Path(made['run']).name}-policy" if "run" in made else f"policy-{Path(str(r.config.policy)).name}"


def _tags(tasks: Sequence[str]) -> tuple[str, ...]:
    """Names of tasks; of a declared one, the name of its file."""
    return tuple(Path(name).stem if name.endswith((".yaml", ".yml")) else name for name in tasks)


@stage
def log(r: Round, row: Mapping[str, Any]) -> dict[str, Any]:
    """The round's row, the table of its gate's episodes, its episodes and its candidate as artifacts."""
    tracker, rounds = r.tracker, (f"round-{r.number}",)
    for name in ("episodes", *stores(r.config.optimise)):
        if (r.folder / name).is_dir():
            tracker.artifact(Artifact(f"{r.run.path.name}-{name}", "episodes", r.folder / name, aliases=rounds))
    if "unhealthy" not in row:
        for side in ("incumbent", "candidate"):
            tracker.table(f"gate/{side}/episodes", partial(_gate_rows, r, side))
        aliases = (*rounds, "accepted" if row["accepted"] else "refused")
        tracker.artifact(Artifact(f"{r.run.path.name}-policy", "policy", r.candidate, aliases=aliases))
    tracker.log_tree("round", row)
    return {}


def _gate_rows(r: Round, side: str, folder: Path) -> Rows:
    return episode_rows(r.episodes(f"gate/{side}"), 0, folder)


@stage
def log_gain(r: Round, results: Mapping[str, Any]) -> dict[str, Any]:
    """The gain on held-out episodes, by task and as the mean, each with the ends of its 95 % interval."""
    gains = {task: _gain(row["gain"]["points"], row["gain"]["ci95"]) for task, row in results["heldout"].items()}
    mean = results["heldout_mean"]
    whole = _gain(mean["gain_points"], mean["ci95"])
    r.tracker.log_tree("gain", gains | {"mean": whole})
    text = f"{points(mean['gain_points'], mean['ci95'])} points"
    r.tracker.summary({"gain": text, **{f"gain_{name}": value for name, value in whole.items()}})
    return {}


def _gain(gain: float, ci95: Sequence[float]) -> dict[str, float]:
    low, high = ci95
    return {"points": gain, "ci95_low": low, "ci95_high": high}
