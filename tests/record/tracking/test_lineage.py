"""What a W&B run holds beside its numbers: what it is, tables, and artifacts with who made and used them."""

import numpy as np
import pytest

from agent.config import Tracking
from agent.record.tracking import TrackedJob, Tracker
from agent.record.tracking.job import Artifact
from agent.record.tracking.tables import Rows
from tests.record.tracking.test_wandb_run import close, sync
from tests.record.tracking.wandb_server import wandb_server


def artifacts_logged(folder, steps, kept=0):
    """A used policy, and with each of these steps a table and an artifact."""
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "policy" / "model.safetensors").write_bytes(b"weights")
    settings = Tracking(mode="offline", group="arms", tags=("mine",), artifacts="files")
    tracker = Tracker(folder, settings, {"seed": 0}, kept, TrackedJob("improve", "handeye improve a.yaml", ("reach",)))
    for step in steps:
        if step == 0:
            tracker.artifact(Artifact("policy-seed", "policy", folder / "policy", used=True))
        tracker.table("episodes", lambda _, at=step: Rows(("step", "frame"), [(at, np.zeros((8, 8, 3), np.uint8))]))
        tracker.artifact(Artifact("run-policy", "policy", folder / "policy", aliases=(f"round-{step}",)))
        tracker.log({"a": step / 2})
    tracker.summary({"gain": "+16 [+8, +24] points"})
    close(tracker)


@pytest.mark.slow
def test_tables_and_lineage_are_sent_once_with_what_the_run_is(folder):
    """By `wandb sync`, of a run that was resumed."""
    artifacts_logged(folder, range(2))
    artifacts_logged(folder, range(1, 3), kept=1)  # 1 is logged again
    artifacts = {}
    with wandb_server(artifacts) as (url, runs):
        said = sync(folder, url)
    ((name, run),) = runs.items()
    about = {"groupName": "arms", "jobType": "improve", "tags": ["mine", "reach"]}
    assert run.about == about | {"notes": "To repeat: handeye improve a.yaml"}, said
    assert run.summary["gain"] == "+16 [+8, +24] points"
    assert [row["step"] for row in run.history] == [0, 1, 2]
    (seed,) = run.used
    assert (artifacts[seed].name, artifacts[seed].made_by) == ("policy-seed", None)
    assert list(artifacts[seed].files) == ["model.safetensors"]
    made = [a for a in artifacts.values() if a.made_by == name and a.type == "policy"]
    assert [(a.name, a.content["model.safetensors"]) for a in made] == [("run-policy", b"weights")]
    tables = [a for a in artifacts.values() if a.type == "run_table"]
    assert len(tables) == 3
    assert all(a.committed for a in artifacts.values())
    assert all(any(path.endswith(".png") for path in table.content) for table in tables)
