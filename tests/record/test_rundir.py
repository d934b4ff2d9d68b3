"""Run folders: no earlier run is overwritten by accident, and results are plain JSON."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import yaml

from agent.record.run.journal import Journal
from agent.record.rundir import LOCK, RunDir
from envs.errors import UserError


def test_a_new_folder_is_made(tmp_path):
    run = RunDir(tmp_path / "deep" / "run")
    assert run.path.is_dir()
    assert run.round(0).name == "round_000"
    assert run.round(12).name == "round_012"


def test_an_existing_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        UserError, match=rf"run folder '{tmp_path}' exists; valid: --resume, another --out, or --overwrite"
    ):
        RunDir(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_only_a_runs_folder_is_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is no run folder"):
        RunDir(tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"

    run = RunDir(tmp_path / "run")
    run.begin({"seed": 1}, {}, {})
    (run.path / "metrics.jsonl").write_text("{}")
    run.close()
    with pytest.raises(UserError, match="exists; valid: --resume"):
        RunDir(run.path)
    assert Journal(run.path).begun["config"] == {"seed": 1}
    assert RunDir(run.path, overwrite=True).journal.begun is None
    assert [p.name for p in run.path.iterdir()] == [LOCK]


def test_what_a_crash_left_before_the_run_began_is_no_run(tmp_path):
    RunDir(tmp_path / "run").close()
    assert RunDir(tmp_path / "run").journal.begun is None


def test_a_run_is_resumed_where_there_is_one(tmp_path):
    with pytest.raises(UserError, match=r"no run to resume in '.*' \(no journal.jsonl\); valid: a run's folder"):
        RunDir(tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()

    run = RunDir(tmp_path / "run")
    run.begin({"seed": 1}, {}, {})
    run.close()
    assert RunDir(run.path, resume=True).journal.begun["config"] == {"seed": 1}


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_a_second_process_is_refused_and_changes_nothing(tmp_path, how):
    run = RunDir(tmp_path / "run")
    run.begin({"seed": 1}, {}, {})
    text = f"import pathlib, agent.record.rundir as r\nr.RunDir(pathlib.Path({str(run.path)!r}), **{how!r})"
    second = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert f"another process writes into {str(run.path)!r}; valid: when it has ended" in second.stderr
    assert Journal(run.path).begun["config"] == {"seed": 1}


def test_an_empty_folder_may_be_overwritten(tmp_path):
    assert RunDir(tmp_path, overwrite=True).path == tmp_path


def test_a_file_is_never_overwritten(tmp_path):
    path = tmp_path / "run"
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError):
            RunDir(path, overwrite)
    assert path.read_text() == "mine"


def test_results_are_plain_json_with_null_for_nan(tmp_path):
    run = RunDir(tmp_path / "run")
    path = run.write_results(
        {
            "auroc": float("nan"),
            "ci95": (0.25, math.inf),
            "rounds": [{"k": 3, "accepted": True}],
            "x": np.float64("nan"),
        }
    )
    assert path == run.path / "results.json"
    results = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert results == {"auroc": None, "ci95": [0.25, None], "rounds": [{"k": 3, "accepted": True}], "x": None}
    assert {p.name for p in run.path.iterdir()} == {"results.json", LOCK}


def test_results_that_cannot_be_written_leave_the_old_ones(tmp_path):
    run = RunDir(tmp_path / "run")
    run.write_results({"k": 1})
    with pytest.raises(TypeError):
        run.write_results({"k": object()})
    assert json.loads((run.path / "results.json").read_text()) == {"k": 1}


def test_the_config_is_plain_yaml(tmp_path):
    run = RunDir(tmp_path / "run")
    run.begin({"tasks": ("reach", "push"), "sft": {"learning_rate": 5e-4}, "seed": 0}, {}, {})
    text = (run.path / "config.yaml").read_text()
    assert yaml.safe_load(text) == {"tasks": ["reach", "push"], "sft": {"learning_rate": 5e-4}, "seed": 0}
    assert text.startswith("tasks:")  # in the order given
