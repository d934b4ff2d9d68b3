"""Sinks of metrics beside W&B, each under the names of metrics.jsonl, and tables for those that show them."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from agent.config import Tracking
from agent.organise.outcome import Outcome
from agent.organise.rows import Pair
from agent.record.tracking import ENV_STEPS, Tracker
from agent.record.tracking import sinks as module
from agent.record.tracking.axes import axis_of
from agent.record.tracking.sinks import check_installed, chosen
from agent.record.tracking.tables import MOST_PAIRS, episode_rows, pair_rows
from envs.errors import UserError
from policies.critic import Critique

TENSORBOARD = Tracking(mode="disabled", sinks=("tensorboard",))


def test_sinks_are_chosen_by_name():
    assert chosen(Tracking()) == ["wandb"]
    assert chosen(Tracking(mode="disabled")) == []
    assert chosen(Tracking(mode="disabled", sinks=("wandb", "tensorboard"))) == ["tensorboard"]


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"'tensorboard'.*; valid: first pip install 'handeye\[tensorboard\]'"):
        check_installed(TENSORBOARD)
    check_installed(Tracking(mode="disabled"))


def test_each_metric_has_its_axis():
    line = {"step": 3, ENV_STEPS: 10.0, "sft/global_step": 2.0}
    assert axis_of("sft/loss", line) == "sft/global_step"
    assert axis_of("held-out/reach/success", line) == ENV_STEPS
    assert axis_of("dpo/loss", {"step": 3}) == "step"


def log(folder, settings, steps, kept=0):
    tracker = Tracker(folder, settings, {"seed": 0}, kept, axes=lambda: {ENV_STEPS: 10 * tracker.step})
    for step in steps:
        tracker.log({"a": step / 2} if step % 2 else {"sft/loss": -step, "sft/global_step": 100 + step})
    tracker.close()


@pytest.mark.slow
def test_tensorboard_has_each_number_once_over_its_own_axis(folder):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log(folder, TENSORBOARD, range(5))
    log(folder, TENSORBOARD, range(3, 7), kept=3)  # 3 and 4 are logged again
    found = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("a")] == [(10, 0.5), (30, 1.5), (50, 2.5)]
    assert [(e.step, e.value) for e in found.Scalars("sft/loss")] == [(100, 0), (102, -2), (104, -4), (106, -6)]
    assert found.Tags()["scalars"] == ["sft/loss", "a"]


@pytest.mark.slow
def test_trackio_has_each_line_once_on_this_machine(folder, tmp_path):
    """In a process of its own, whose folder trackio reads as it is imported, and without a network."""
    pytest.importorskip("trackio", reason="the extra `trackio` is not installed")
    script = f"""
import socket
from pathlib import Path
from agent.config import Tracking
from agent.record.tracking import ENV_STEPS, Tracker
def refused(*arguments): raise OSError("no network")
socket.socket.connect = socket.create_connection = refused
def log(steps, kept=0):
    settings = Tracking(mode="disabled", sinks=("trackio",), group="arms")
    axes = lambda: {{ENV_STEPS: 10 * tracker.step}}
    tracker = Tracker(Path({str(folder)!r}), settings, {{"seed": 0}}, kept, axes=axes)
    for step in steps:
        tracker.log({{"held-out/reach/success": step / 2, "odd": None}})
    tracker.close()
log(range(5))
log(range(3, 7), kept=3)  # 3 and 4 are logged again
from trackio.sqlite_storage import SQLiteStorage
(name,) = SQLiteStorage.get_runs("handeye")
import json
print(json.dumps([name, SQLiteStorage.get_logs("handeye", name)], default=str))
"""
    env = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "TRACKIO_SPACE_ID": "someone/else"}
    ended = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    (said,) = ended.stdout.splitlines()  # trackio says nothing
    name, lines = json.loads(said)
    assert name.startswith(f"{folder.name}-")
    assert [(line["step"], line["held-out/reach/success"]) for line in lines] == [(i, i / 2) for i in range(7)]
    assert [line[ENV_STEPS] for line in lines] == [10 * i for i in range(7)]


def test_a_sink_that_fails_is_one_line_and_the_others_go_on(folder, monkeypatch, capsys):
    class Failing(module.Scalars):
        def log(self, line):
            raise OSError(28, "No space left on device")

    class Kept(module.Scalars):
        got = []  # noqa: RUF012

        def log(self, line):
            self.got.append(line)

        def close(self): ...

    made = {"wandb": Failing, "tensorboard": Kept}
    monkeypatch.setattr(module.Sinks, "_begin", lambda self, name, *rest: self._open.update({name: made[name]()}))
    log(folder, Tracking(sinks=("wandb", "tensorboard")), range(3))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert Kept.got == lines
    assert len(lines) == 3
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.startswith("Weights & Biases failed: [Errno 28]")


def test_a_row_for_each_episode_and_a_film_for_each_outcome(episode, tmp_path):
    whole = [episode([(1, 0), (0, 1)], success=won, seed=seed) for seed, won in enumerate((True, True, False))]
    whole[0].conclusion = Critique(0.75, "done")
    whole.append(episode([(1, 0)], ending="broken", seed=9))
    table = episode_rows(whole, 1, tmp_path, side="candidate")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["outcome"] for row in rows] == ["success", "success", "failure", "broken"]
    assert [row["seed"] for row in rows] == [0, 1, 2, 9]
    assert {row["side"] for row in rows} == {"candidate"}
    assert rows[0]["end verdict"] == 0.75
    assert rows[0]["answers"].splitlines()[1].startswith("1: ")
    assert [bool(row["film"]) for row in rows] == [True, False, True, False]
    assert rows[0]["film"].stat().st_size > 0
    assert rows[0]["first frame"].dtype == np.uint8


def test_a_row_for_each_pair(episode):
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "act"}]}]
    frame = np.full((1, 8, 8, 3), 7, np.uint8)
    table = pair_rows([Pair(frame, prompt, "left", "right", Outcome(1.0, 0.25))] * (MOST_PAIRS + 1))
    assert len(table.rows) == MOST_PAIRS
    shown, asked, *answers = table.rows[0]
    assert (asked, answers) == ("act", ["left", "right", 1.0, 0.25])
    assert (shown == 7).all()
