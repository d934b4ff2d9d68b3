"""Metrics are lines of JSON in the run's folder, and go to Weights & Biases, offline without a login."""

import json
import math
import time

import numpy as np
import pytest

from agent.config import Tracking
from agent.record.tracking import Tracker


@pytest.fixture(autouse=True)
def _no_login(monkeypatch, tmp_path):
    """No variable of W&B is set, and the home folder is empty."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def lines(folder):
    return [
        json.loads(line, parse_constant=pytest.fail) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def test_numbers_become_lines_of_json(folder):
    tracker = Tracker(folder, Tracking(mode="disabled"), {})
    tracker.log({"loss": 0.5, "n": 3, "flag": True, "name": "reach", "x": np.float32(0.25), "i": np.int64(7)})
    assert lines(folder) == [{"step": 0, "loss": 0.5, "n": 3, "flag": 1, "x": 0.25, "i": 7}]  # at once, not at the end
    tracker.log({"loss": math.nan, "gain": -math.inf})
    tracker.close()
    assert lines(folder)[1:] == [{"step": 1, "loss": None, "gain": None}]


def test_trees_are_flattened(folder):
    tracker = Tracker(folder, Tracking(mode="disabled"), {})
    tracker.log_tree("round", {"accepted": True, "gate": {"before": {"k": 3, "ci95": [0.1, 0.2]}, "p_value": 0.5}})
    tracker.close()
    assert lines(folder) == [{"step": 0, "round/accepted": 1, "round/gate/before/k": 3, "round/gate/p_value": 0.5}]


def test_a_second_tracker_adds(folder):
    for _ in range(2):
        tracker = Tracker(folder, Tracking(mode="disabled"), {})
        tracker.log({"a": 1})
        tracker.close()
    assert len(lines(folder)) == 2


def test_disabled_makes_nothing_else(folder, tmp_path):
    tracker = Tracker(folder, Tracking(mode="disabled"), {"seed": 0})
    tracker.log({"a": 1})
    (tmp_path / "film.mp4").write_bytes(b"")
    tracker.video("film", tmp_path / "film.mp4")
    tracker.close()
    assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"]


@pytest.mark.slow
def test_offline_needs_no_login_and_leaves_a_run(folder, tmp_path, capfd):
    from agent.record import video

    film = tmp_path / "film.mp4"
    video.write(film, [np.zeros((2, 32, 32, 3), np.uint8)])
    tracker = Tracker(folder, Tracking(mode="offline"), {"seed": 0, "sft": {"learning_rate": 1e-3}})
    tracker.log({"loss": 0.5})
    tracker.video("video/reach", film)
    tracker.log({"loss": math.nan, "win_rate": 0.25})
    tracker.close()
    assert lines(folder) == [{"step": 0, "loss": 0.5}, {"step": 1, "loss": None, "win_rate": 0.25}]
    (run,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 30  # wandb's own process writes it, at times a little after `finish` returns
    while b"win_rate" not in run.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"win_rate" in run.read_bytes()
    assert list(folder.glob("wandb/offline-run-*/files/media/videos/**/*.mp4"))
    assert capfd.readouterr().err == ""
