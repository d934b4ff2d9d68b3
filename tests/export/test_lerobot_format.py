"""A LeRobotDataset v3.0 of a run: every field, lossless pictures, exact statistics, and what reads it back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from stored_run import stored_run

from agent.organise.demonstrations import lerobot
from agent.record.export import lerobot as writing

CAMERA = "observation.images.camera"
VENV = "LEROBOT_VENV"  # environment variable: a virtual environment with lerobot-doctor, lerobot-dataset and torch


@pytest.fixture
def played(episode):
    """Episodes of toy: a success, a failure, one that broke, one that the critic judged."""
    return [
        episode([(1, 0), (0, 1), (1, 1)], success=True, seed=3),
        episode([(0, 0), (1, 0)], seed=4, attempt=1),
        episode([(1, 0)], seed=5, ending="broken"),
        episode([(0, 1), (1, 0), (0, 0), (1, 1)], success=True, seed=6, verdicts=[0.25, 0.5, 0.75, 1.0]),
    ]


@pytest.fixture
def run(tmp_path, played):
    return stored_run(tmp_path / "run", {"round_001/episodes": played})


@pytest.fixture
def exported(run, tmp_path, typed):
    done = typed("export", run, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "3 episodes, 9 decisions; 1 broken ones left out" in done.stdout
    return tmp_path / "out"


def data(folder):
    return [row for path in sorted((folder / "data").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def about(folder):
    return [
        row for path in sorted((folder / "meta/episodes").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_every_row_says_what_was_recorded(exported, played):
    whole = [e for e in played if e.ending != "broken"]
    rows, n = data(exported), 0
    for number, e in enumerate(whole):
        for i, step in enumerate(e.steps):
            row, last = rows[n], i == len(e.steps) - 1
            assert row["action"] == step.decision.action.tolist()
            assert row["next.reward"] == step.reward
            assert (row["next.done"], row["next.success"]) == (last, last and e.success)
            assert row["next.terminated"] == (last and e.ending == "terminated")
            assert row["next.truncated"] == (last and e.ending == "truncated")
            assert (row["success"], row["seed"], row["certificate"]) == (e.success, e.seed, True)
            assert (row["answer"], row["proprioception"]) == (step.decision.answer, f"gripper {i} {i}")
            assert row["verdict"] == (-1 if step.decision.verdict is None else step.decision.verdict)
            assert row["observation.state"] == [i, i]
            assert (row["episode_index"], row["frame_index"], row["index"], row["task_index"]) == (number, i, n, 0)
            assert row["timestamp"] == np.float32(i / 5)  # render_fps of toy
            picture = cv2.imdecode(np.frombuffer(row[CAMERA]["bytes"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            assert (picture == step.observation.frames[-1]).all()
            n += 1
    assert n == len(rows)


def test_info_and_episodes_are_complete(exported):
    info = json.loads((exported / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_tasks"]) == ("v3.0", 5, 1)
    assert (info["total_episodes"], info["total_frames"], info["splits"]) == (3, 9, {"train": "0:3"})
    assert info["features"][CAMERA] == {"dtype": "image", "shape": [8, 8, 3], "names": ["height", "width", "channels"]}
    assert info["features"]["observation.state"]["names"] == ["gripper_0", "gripper_1"]
    assert info["features"]["action"]["shape"] == [2]
    assert set(info["features"]) == set(data(exported)[0])
    places = [(e["dataset_from_index"], e["dataset_to_index"], e["length"]) for e in about(exported)]
    assert places == [(0, 3, 3), (3, 5, 2), (5, 9, 4)]
    first = about(exported)[0]
    assert (first["tasks"], first["seed"], first["ending"]) == (["reach the red cube"], 3, "terminated")
    assert first["source"] == "round_001/episodes"
    assert {"data/chunk_index", "data/file_index", "meta/episodes/chunk_index", "meta/episodes/file_index"} <= set(
        first
    )
    path = next((exported / "data").rglob("*.parquet"))
    assert pq.ParquetFile(path).num_row_groups == 3  # one for each episode


def test_statistics_are_those_of_the_data(exported):
    stats, rows = json.loads((exported / "meta/stats.json").read_text()), data(exported)
    names = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    numeric = [name for name, value in rows[0].items() if not isinstance(value, (str, dict))]
    assert set(stats) == {*numeric, CAMERA}
    assert all(set(each) == names for each in stats.values())
    for some, held in [(rows, stats), (rows[5:], {name: _stats_of(about(exported)[2], name) for name in stats})]:
        for name in numeric:
            values = np.array([row[name] for row in some], float).reshape(len(some), -1)
            assert np.allclose(held[name]["mean"], values.mean(0))
            assert np.allclose(held[name]["std"], values.std(0), atol=1e-6)
            assert np.allclose(held[name]["q90"], np.quantile(values, 0.9, axis=0))
            assert held[name]["count"] == [len(some)]
        pixels = np.stack([cv2.imdecode(np.frombuffer(row[CAMERA]["bytes"], np.uint8), 1)[..., ::-1] for row in some])
        channels = pixels.reshape(-1, 3) / 255
        assert np.allclose(np.array(held[CAMERA]["mean"]).reshape(3), channels.mean(0))
        assert np.allclose(np.array(held[CAMERA]["std"]).reshape(3), channels.std(0))
        for name, q in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
            assert np.allclose(
                np.array(held[CAMERA][name]).reshape(3), np.quantile(channels, q, axis=0, method="lower")
            )


def _stats_of(row, name):
    prefix = f"stats/{name}/"
    return {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}


def test_our_own_reader_gives_equal_actions_and_frames(exported, played):
    whole = [e for e in played if e.ending != "broken"]
    for read, e in zip(lerobot.read(exported), whole, strict=True):
        assert (read.seed, read.options, read.instruction, read.fps) == (e.seed, {}, "reach the red cube", 5)
        assert np.array_equal(np.stack(read.actions), np.stack([step.decision.action for step in e.steps]))
        assert np.array_equal(read.pictures()[:, 0], np.stack([step.observation.frames[-1] for step in e.steps]))


def test_many_episodes_go_into_several_files(run, tmp_path, typed, monkeypatch, played):
    monkeypatch.setattr(writing, "DATA_MB", 1e-3)
    monkeypatch.setattr(writing, "CHUNK", 2)
    monkeypatch.setattr(writing, "EPISODES_AT_ONCE", 1)
    assert typed("export", run, tmp_path / "out").returncode == 0
    files = sorted(p.relative_to(tmp_path / "out/data").as_posix() for p in (tmp_path / "out/data").rglob("*.parquet"))
    assert files == ["chunk-000/file-000.parquet", "chunk-000/file-001.parquet", "chunk-001/file-000.parquet"]
    assert [len(d.actions) for d in lerobot.read(tmp_path / "out")] == [3, 2, 4]


def test_video_has_the_same_moments(run, tmp_path, typed, played):
    assert typed("export", run, tmp_path / "out", "--video").returncode == 0
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"][CAMERA]["dtype"] == "video"
    assert info["features"][CAMERA]["info"]["video.fps"] == 5
    times = [
        (e[f"videos/{CAMERA}/from_timestamp"], e[f"videos/{CAMERA}/to_timestamp"]) for e in about(tmp_path / "out")
    ]
    assert np.allclose(times, [(0, 0.6), (0.6, 1.0), (1.0, 1.8)])
    for read, e in zip(lerobot.read(tmp_path / "out"), [played[0], played[1], played[3]], strict=True):
        frames = np.stack([step.observation.frames[-1] for step in e.steps])
        assert np.abs(read.pictures()[:, 0].astype(int) - frames).mean() < 3


def test_the_card_tells_the_hub_and_a_reader(exported):
    front, _, text = (exported / "README.md").read_text().removeprefix("---\n").partition("---\n")
    assert "size_categories:\n- n<1K" in front
    assert "data_files: data/*/*.parquet" in front
    assert "| toy | 3 | 66.7 % | 9 |" in text
    assert "1 broken episodes were left out" in text
    assert "Command: `handeye export run out --format lerobot`" in text
    assert str(exported.parent) not in text


def test_datasets_loads_it(exported, tmp_path):
    from datasets import load_dataset

    loaded = load_dataset(str(exported), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 9
    assert loaded[0][CAMERA].size == (8, 8)


def tool(name):
    """A program of the packages that check the format: beside this Python, or in the environment that VENV names."""
    places = [Path(sys.executable).parent, *([Path(os.environ[VENV]) / "bin"] if VENV in os.environ else [])]
    found = next((p / name for p in places if (p / name).exists()), None) or shutil.which(name)
    return str(found) if found else pytest.skip(f"{name} is not installed; docs/data.md says how")


@pytest.mark.parametrize("options", [(), ("--video",)])
def test_lerobot_doctor_finds_nothing_that_fails(run, tmp_path, typed, options):
    doctor = tool("lerobot-doctor")
    assert typed("export", run, tmp_path / "out", *options).returncode == 0
    command = [doctor, "check", str(tmp_path / "out"), "--json", "--ci", "--fail-on", "fail"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=_alone())
    assert done.returncode == 0, done.stdout
    by_name = {check["name"]: check["severity"] for check in json.loads(done.stdout)["checks"]}
    for name in ("Metadata & Format Compliance", "Temporal Consistency", "Feature Consistency", "Video Integrity"):
        assert by_name[name] == "PASS", name


@pytest.mark.slow
def test_lerobot_dataset_reads_it(exported):
    if VENV not in os.environ:
        pytest.skip(f"no {VENV}; docs/data.md says how to make it")
    program = Path(__file__).with_name("read_by_lerobot.py")
    command = [f"{os.environ[VENV]}/bin/python", str(program), str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=_alone())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "frames": 9,
        "episodes": 3,
        "image": [3, 8, 8],
        "action": [2, 2],
        "task": "reach the red cube",
    }


def _alone():
    """Without this program's packages."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
