"""A run folder is one run of Weights & Biases, whatever becomes of its processes: offline, online, killed, resumed.

Nothing here leaves this machine: the server is one of ours.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wandb

from agent.config import Tracking
from agent.record import video
from agent.record.tracking import Tracker
from agent.record.tracking.wandb_log import records, repair, sent
from agent.record.tracking.wandb_run import run_id
from envs.errors import UserError
from tests.record.tracking.wandb_server import wandb_server

ROOT = Path(__file__).parents[3]
OFFLINE = Tracking(mode="offline")
KEY = "5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7"  # 40 characters, as W&B wants


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def log(folder, steps, kept=0, mode="offline"):
    """Lines of one number each, of these steps, by a tracker that keeps the first lines."""
    tracker = Tracker(folder, Tracking(mode=mode), {"seed": 0}, kept)
    for step in steps:
        tracker.log({"a": step / 2})
    close(tracker)


def close(tracker):
    """Close it, and wait for W&B's own process, which writes its log a little later."""
    tracker.close()
    wandb.teardown()


def killed(folder, steps, kept=0):
    """The same in a process that is killed at once after its last line."""
    program = f"""
import os
from pathlib import Path
from agent.config import Tracking
from agent.record.tracking import Tracker
tracker = Tracker(Path({str(folder)!r}), Tracking(mode="offline"), {{"seed": 0}}, {kept})
for step in {list(steps)}:
    tracker.log({{"a": step / 2}})
os.kill(os.getpid(), 9)
"""
    command, environment = [sys.executable, "-c", program], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == -9, done.stderr


def logs(folder):
    """The transaction logs of the offline parts, in their order."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def rows(log):
    """The history in a transaction log: a mapping for each of its rows."""
    history = [record.history for _, record in records(log) if record.HasField("history")]
    return [
        {"/".join([*item.nested_key, *filter(None, [item.key])]): json.loads(item.value_json) for item in row.item}
        for row in history
    ]


def begun(log):
    """The record with which a part begins its run."""
    return next(record.run for _, record in records(log) if record.HasField("run"))


def sync(folder, url):
    """What `wandb sync` of a run folder prints."""
    environment = os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}
    command = [str(Path(sys.executable).with_name("wandb")), "sync", str(folder / "wandb")]
    settings = {"env": environment, "cwd": folder, "timeout": 120}  # it logs to its working folder too
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)
    return done.stdout + done.stderr


def synced(folder):
    """The run that `wandb sync` makes of a folder on an empty server, and what it prints."""
    with wandb_server() as (url, runs):
        said = sync(folder, url)
    (run,) = runs.values()
    return run, said


def test_the_id_is_drawn_once(folder, tmp_path):
    drawn = run_id(folder)
    assert run_id(folder) == drawn
    assert run_id(tmp_path) != drawn


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id"'])
def test_a_damaged_id_is_named(folder, text):
    (folder / "wandb.json").write_text(text)
    with pytest.raises(UserError, match=r"wandb\.json.*damaged; valid"):
        run_id(folder)


@pytest.mark.slow
def test_offline_needs_no_login_and_leaves_a_run(folder, tmp_path, capfd):
    film = tmp_path / "film.mp4"
    video.write(film, [np.zeros((2, 32, 32, 3), np.uint8)])
    tracker = Tracker(folder, OFFLINE, {"seed": 0, "sft": {"learning_rate": 1e-3}})
    tracker.log({"loss": 0.5})
    tracker.video("video/reach", film)
    tracker.log({"loss": math.nan, "win_rate": 0.25})
    close(tracker)
    assert lines(folder) == [{"step": 0, "loss": 0.5}, {"step": 1, "loss": None, "win_rate": 0.25}]
    (log,) = logs(folder)
    first, second = rows(log)
    assert (first["step"], first["_step"], first["loss"]) == (0, 0, 0.5)
    assert (second["step"], second["_step"], second["win_rate"]) == (1, 1, 0.25)
    assert math.isnan(float(second["loss"]))
    assert any(name.startswith("video/reach") for name in second)
    assert list(folder.glob("wandb/offline-run-*/files/media/videos/**/*.mp4"))
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_two_offline_parts_are_one_run(folder):
    log(folder, range(4))
    log(folder, range(2, 6), kept=2)  # 2 and 3 are logged again
    assert lines(folder) == [{"step": n, "a": n / 2} for n in range(6)]
    first, second = logs(folder)
    assert [row["step"] for row in rows(first)] == [0, 1, 2, 3]
    assert [row["step"] for row in rows(second)] == [4, 5]
    assert {begun(part).run_id for part in (first, second)} == {run_id(folder)}
    assert begun(first).resume
    assert begun(second).resume
    run, _ = synced(folder)
    assert [(row["_step"], row["step"], row["a"]) for row in run.history] == [(n, n, n / 2) for n in range(6)]
    assert all(part.with_suffix(".wandb.synced").exists() for part in (first, second))


@pytest.mark.slow
def test_parts_are_sent_once_and_one_by_one_too(folder):
    with wandb_server() as (url, runs):
        for steps, kept in ((range(3), 0), (range(2, 5), 2)):
            log(folder, steps, kept)
            sync(folder, url)
            sync(folder, url)
    (run,) = runs.values()
    assert [(row["_step"], row["step"]) for row in run.history] == [(n, n) for n in range(5)]


@pytest.mark.slow
def test_what_a_kill_took_from_wandb_is_sent_when_the_run_goes_on(folder):
    log(folder, range(2))
    killed(folder, range(2, 5), kept=2)
    assert lines(folder) == [{"step": n, "a": n / 2} for n in range(5)]
    assert [sent(part) for part in logs(folder)] == [2, 0]  # wandb had written nothing of the second yet
    log(folder, range(4, 6), kept=4)
    assert [row["step"] for part in logs(folder) for row in rows(part)] == list(range(6))
    assert len(logs(folder)) == 2  # the empty one is set aside
    run, _ = synced(folder)
    assert [(row["_step"], row["step"]) for row in run.history] == [(n, n) for n in range(6)]


@pytest.mark.slow
def test_a_torn_log_is_cut_and_loses_nothing(folder):
    log(folder, range(4))
    (part,) = logs(folder)
    whole = part.read_bytes()
    ends = {3: whole.rindex(b"1.5"), 1: whole.rindex(b"0.5")}
    for kept, end in ends.items():  # amid the row of a step
        part.write_bytes(whole[:end])
        assert repair(part) == kept
        assert whole.startswith(part.read_bytes())
        assert repair(part) == kept  # nothing is left to cut
    part.write_bytes(whole[: ends[1]] + bytes([whole[ends[1]] ^ 1]) + whole[ends[1] + 1 :])
    assert repair(part) == 1
    log(folder, [], kept=4)
    run, said = synced(folder)
    assert [(row["_step"], row["step"]) for row in run.history] == [(n, n) for n in range(4)]
    assert "incomplete" not in said


def test_a_log_without_a_run_is_set_aside(folder):
    part = folder / "wandb" / "offline-run-20260101_000000-x" / "run-x.wandb"
    part.parent.mkdir(parents=True)
    for content in (b"", b":W&B\xe1\xbe\x00", b"another format altogether"):
        part.write_bytes(content)
        assert repair(part) == 0
        assert [path.name for path in part.parent.iterdir()] == ["run-x.wandb.damaged"]
        assert (part.parent / "run-x.wandb.damaged").read_bytes() == content


@pytest.mark.slow
def test_online_the_server_says_what_it_has(folder, monkeypatch):
    with wandb_server() as (url, runs):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        log(folder, range(3), mode="online")
        ((name, run),) = runs.items()
        assert name == run_id(folder)
        del run.history[2:]  # lost on its way
        run.summary |= {"step": 1, "_step": 1}
        log(folder, range(1, 5), kept=1, mode="online")
    assert [(row["_step"], row["step"], row["a"]) for row in run.history] == [(n, n, n / 2) for n in range(5)]


def went_on(folder, said):
    """A run whose W&B failed: it said so in one line, and has all lines of metrics.jsonl."""
    assert lines(folder) == [{"step": n, "a": n / 2} for n in range(4)]
    assert said.out.count("\n") == 1
    assert said.out.startswith("Weights & Biases failed: ")
    assert said.out.endswith(f"; the run goes on without it, with {str(folder / 'metrics.jsonl')!r}\n")
    assert "Traceback" not in said.err
    return said.out


def test_a_server_that_is_away_is_one_line(folder, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    log(folder, range(4), mode="online")
    assert "tracking.mode = 'online': " in went_on(folder, capfd.readouterr())


@pytest.mark.parametrize("text", ["", "[]", '{"id": "no/such id?"}', '{"id": ""}'])
def test_a_damaged_id_ends_no_run(folder, text, capfd):
    (folder / "wandb.json").write_text(text)
    log(folder, range(4))
    went_on(folder, capfd.readouterr())


@pytest.mark.parametrize("method", ["log", "finish", "define_metric"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), wandb.Error("x\ny"), BrokenPipeError(), KeyError()]
)
def test_whatever_wandb_raises_ends_no_run(folder, method, error, monkeypatch, capfd):
    class Failing:
        summary = {}  # noqa: RUF012

        def __getattr__(self, name):
            def call(*arguments, **named):
                if name == method:
                    raise error

            return call

    monkeypatch.setattr(wandb, "init", lambda **settings: Failing())
    log(folder, range(4))
    went_on(folder, capfd.readouterr())


@pytest.mark.slow
@pytest.mark.parametrize("key", ["short", "not a key \n", "x" * 300])
def test_a_broken_key_ends_no_offline_run(folder, key, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", key)
    log(folder, range(4))
    assert lines(folder) == [{"step": n, "a": n / 2} for n in range(4)]
    assert capfd.readouterr().out.count("\n") <= 1


@pytest.mark.slow
def test_a_file_in_the_place_of_its_folder_ends_no_run(folder, capfd):
    (folder / "wandb").write_text("mine")
    log(folder, range(4))
    assert lines(folder) == [{"step": n, "a": n / 2} for n in range(4)]
    assert (folder / "wandb").read_text() == "mine"


@pytest.mark.slow
def test_a_process_of_wandb_that_dies_ends_no_run(folder):
    program = f"""
import os, signal, subprocess
from pathlib import Path
from agent.config import Tracking
from agent.record.tracking import Tracker
tracker = Tracker(Path({str(folder)!r}), Tracking(mode="offline"), {{"seed": 0}})
tracker.log({{"a": 0.0}})
children = Path(f"/proc/self/task/{{os.getpid()}}/children").read_text().split()
assert children
for child in children:
    os.kill(int(child), signal.SIGKILL)
for step in range(1, 4):
    tracker.log({{"a": step / 2}})
tracker.close()
print("ended")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment)
    assert lines(folder) == [{"step": n, "a": n / 2} for n in range(4)]
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.endswith("ended\n"), done.stdout
    assert done.stdout.count("Weights & Biases failed: ") == 1
