"""`handeye export`: which episodes, refusals by name, nothing half-written, and the way back as demonstrations."""

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pyarrow.parquet as pq
import pytest
from stored_run import stored_run

from agent.organise.demonstrations import lerobot
from agent.organise.store import EpisodeStore
from agent.record import ownership
from agent.record.export import minari
from agent.record.export.layout import Layout, _named
from agent.record.export.lerobot import LeRobotWriter
from agent.record.export.source import Recording, Wanted
from envs.errors import UserError
from envs.observation import Observation
from envs.registry import TASKS


@pytest.fixture
def run(tmp_path, episode):
    """Practice of two rounds, branches, a gate and held-out episodes, each of seeds of its own."""
    return stored_run(
        tmp_path / "run",
        {
            "round_001/episodes": [episode([(1, 0)], True, seed=1), episode([(0, 1)], seed=2)],
            "round_001/branches": [episode([(1, 1)], True, seed=3)],
            "round_001/gate/candidate": [episode([(1, 0)], True, seed=4)],
            "round_002/episodes": [episode([(1, 0)], True, seed=5)],
            "heldout/after": [episode([(1, 0)], True, seed=6)],
        },
    )


def seeds(run, **wanted):
    return [recorded.episode.seed for recorded in Recording(run, Wanted(**wanted))]


def test_which_episodes(run):
    assert seeds(run) == [1, 2, 5]
    assert seeds(run, only=("successes",)) == [1, 5]
    assert seeds(run, round=1) == [1, 2]
    assert seeds(run, only=("practice", "branches", "successes"), round=1) == [1, 3]
    assert seeds(run, only=("gate",)) == [4]
    assert seeds(run, only=("heldout",)) == [6]


def saying(episode, *instructions):
    steps = zip(episode.steps, instructions, strict=True)
    return replace(episode, steps=[replace(s, observation=replace(s.observation, instruction=i)) for s, i in steps])


def test_episodes_of_an_instruction(tmp_path, episode):
    """By their first step's: what is said later may differ."""
    said = ("open", "open"), ("close", "open"), ("open", "close")
    told = [saying(episode([(1, 0)] * 2, seed=i), *words) for i, words in enumerate(said)]
    run = stored_run(tmp_path / "run", {"round_001/episodes": told})
    assert seeds(run, instructions=("open",)) == [0, 2]
    assert seeds(run, instructions=("close", "open")) == [0, 1, 2]
    wanted = Recording(run, Wanted(instructions=("close",)))
    assert (wanted.census.episodes, wanted.census.steps) == (1, 2)
    with pytest.raises(UserError, match=r"unknown instruction of .* 'opens' .*valid: close, open"):
        Recording(run, Wanted(instructions=("opens",)))


def test_what_the_journal_does_not_name_is_not_there(run, episode):
    EpisodeStore(run / "round_003/episodes").append([episode([(1, 0)], seed=9)])
    assert 9 not in seeds(run)


def test_certificates_are_told_as_the_run_gave_them(tmp_path, episode):
    stores = {
        "round_001/episodes": [episode([(1, 0)] * n, n < 4, seed=1, attempt=n) for n in (3, 1, 2, 4)],
        "round_001/branches": [episode([(1, 1)], True, seed=3)],
        "round_001/gate/candidate": [episode([(1, 1)], True, seed=4)],
    }
    expected = {"all": [True] * 5 + [False], "none": [False] * 6, "kept": [False, True, True, False, True, False]}
    for certify, has in expected.items():
        changes = {"collect": {"certify": certify}, "select": {"per_start": 2}}
        run = stored_run(tmp_path / certify, stores, **changes)
        every = Recording(run, Wanted(("practice", "branches", "gate")))
        assert [recorded.certified for recorded in every] == has, certify


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--round", "7"], "unknown round of '{run}' 7; valid: 1, 2"),
        (["--only", "relabelled"], "'{run}' has no episodes of 'relabelled' that are whole"),
        (["--task", "tay"], "unknown task of '{run}' 'tay' (did you mean 'toy'?); valid: toy"),
        (["--only", "heldout", "--round", "1"], "--round with --only heldout"),
        (["--fps", "0"], "--fps 0.0; valid: above 0"),
        (["--format", "parquet", "--video"], "--video with --format parquet"),
        (["--format", "minari", "--video"], "--video with --format minari"),
        (["--format", "minari"], "'out' is no name of a Minari dataset; valid: letters, digits and -v with a number, "),
    ],
)
def test_bad_values_are_named_and_nothing_is_written(run, tmp_path, typed, options, message):
    done = typed("export", run, tmp_path / "out", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message.format(run=run) in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_the_numbers_are_a_document(run, tmp_path, typed):
    done = typed("export", run, tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"out": str(tmp_path / "out"), "format": "lerobot", "episodes": 3, "decisions": 3, "broken": 0}
    assert f"3 episodes, 3 decisions: {tmp_path / 'out'}" in done.stderr


def test_what_minari_holds_in_memory_is_bounded_by_pictures(run, tmp_path, typed, monkeypatch):
    """An episode at a time where one is as large as the bound; what is written is the same."""
    pytest.importorskip("minari")
    held, flush = [], minari.MinariWriter._flush
    monkeypatch.setattr(minari.MinariWriter, "_flush", lambda self: (held.append(len(self._buffers)), flush(self)))
    for out, megabytes, expected in (("whole-v0", minari.PIXELS_MB, [3]), ("single-v0", 1e-6, [1, 1, 1])):
        monkeypatch.setattr(minari, "PIXELS_MB", megabytes)
        done = typed("export", run, tmp_path / out, "--format", "minari")
        assert done.returncode == 0, done.stderr
        assert held == expected
        held.clear()
    from minari import MinariDataset

    whole, single = (list(MinariDataset(tmp_path / out / "data")) for out in ("whole-v0", "single-v0"))
    assert len(whole) == 3
    for one, other in zip(whole, single, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)


def test_a_folder_that_exists_is_replaced_only_if_it_is_an_export(run, tmp_path, typed):
    out = tmp_path / "out"
    assert typed("export", run, out).returncode == 0
    assert f"exported dataset '{out}' exists; valid: another --out, or --overwrite" in typed("export", run, out).stderr
    assert typed("export", run, out, "--overwrite", "--only", "successes").returncode == 0
    assert len(list(lerobot.read(out))) == 2
    (out / ownership.MARKER).unlink()
    assert "is no exported dataset with our marker" in typed("export", run, out, "--overwrite").stderr
    assert (out / "meta/info.json").is_file()


def test_an_export_that_fails_leaves_nothing(run, tmp_path, typed, monkeypatch):
    add = LeRobotWriter.add

    def second_fails(self, recorded):
        if recorded.episode.seed == 2:
            raise UserError("the second")
        add(self, recorded)

    monkeypatch.setattr(LeRobotWriter, "add", second_fails)
    assert "the second" in typed("export", run, tmp_path / "out").stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_tasks_that_differ_are_named(tmp_path, episode, typed, monkeypatch, toy_task):
    monkeypatch.setitem(TASKS, "slow toy", toy_task().with_env(repeat=2))
    played = [episode([(1, 0)], seed=1), episode([(1, 0)], seed=2, task="slow toy")]
    run = stored_run(tmp_path / "run", {"round_001/episodes": played}, tasks=("toy", "slow toy"))
    done = typed("export", run, tmp_path / "out")
    assert "tasks 'toy' and 'slow toy' differ in fps, 5 and 2.5; valid: --task toy, or another one" in done.stderr
    assert typed("export", run, tmp_path / "out", "--task", "slow toy").returncode == 0
    assert next(lerobot.read(tmp_path / "out")).fps == 2.5


def test_of_several_cameras_and_moments_the_latest_of_each_is_exported(tmp_path, episode, typed, monkeypatch, toy_task):
    monkeypatch.setitem(TASKS, "toy", toy_task().with_env(cameras=("", "side view"), frames=2))
    played = episode([(1, 0)], seed=1)
    frames = np.stack([np.full((8, 8, 3), i, np.uint8) for i in range(4)])
    played.steps = [replace(step, observation=Observation(frames, "look", "")) for step in played.steps]
    monkeypatch.setattr("agent.record.export.layout._of", lambda task, fps: _layout(task))
    run = stored_run(tmp_path / "run", {"round_001/episodes": [played]})
    assert typed("export", run, tmp_path / "out").returncode == 0
    row = pq.read_table(next((tmp_path / "out/data").rglob("*.parquet"))).to_pylist()[0]
    assert {"observation.images.camera_0", "observation.images.side_view"} <= set(row)
    assert next(lerobot.read(tmp_path / "out")).pictures()[0, :, 0, 0, 0].tolist() == [2, 3]


def _layout(task):
    return Layout(5, 1, _named(task.env.cameras), gym.spaces.Box(-1.0, 1.0, (2,), np.float32))
