"""A run that is resumed ends as one that was not interrupted; what it cannot go on with is refused by name."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from agent.commands.training.improve import Improve
from agent.organise import durable
from agent.record import provenance
from agent.record.run import resume
from agent.record.run.journal import hashes
from agent.record.run.status import state
from agent.record.rundir import RunDir
from envs.errors import UserError
from tests.reliability import tiny

TRAINER = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1, "save_steps": 1}
TINY = {
    "policy": "nano",
    "tasks": ["reach"],
    "out": "run",
    "rounds": 1,
    "n_envs": 8,
    "threads": 1,
    "collect": {"starts": 2, "attempts": 2},
    "branch": {"starts": 1, "where": "early", "answers": 2, "anywhere": 1},
    "select": {"critiques": 4, "min_margin": {"success": 0.1, "saved": 0.1}},
    "gate": {"episodes": 1, "p_value": 1.0},
    "evaluation": {"tasks": ["reach"], "episodes": 1, "videos": 1},
    "tracking": {"mode": "disabled"},
    "sft": TRAINER,
    "dpo": TRAINER,
}


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def run(tmp_path, nano_checkpoint, monkeypatch):
    """Runs the tiny config in a folder of its own, whose files have the same names as those of another."""

    def improve(folder, resume=False, overwrite=False, force_version=False, **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        if not Path("nano").exists():
            Path("nano").symlink_to(nano_checkpoint)
        Path("tiny.yaml").write_text(yaml.safe_dump(TINY | changes))
        Improve(Path("tiny.yaml"), resume, overwrite, force_version).run()

    return improve


def outcome(folder):
    """What a run's promise is about: its files but for times, and results.json but for its duration."""
    files = {
        name: sha256
        for name, sha256 in hashes(folder).items()
        if name.split("/")[0] in ("heldout", "config.yaml") or name.startswith("round_")
    }
    results = json.loads((folder / "results.json").read_text())
    return files, results | {"budget": results["budget"] | {"wall_s": 0}}


def killed_after(monkeypatch, name):
    """The run ends when the stage is published, before it is recorded."""
    publish = durable.publish

    def publish_and_die(temporary, final):
        publish(temporary, final)
        if f" {name}" in str(temporary):
            raise Killed

    monkeypatch.setattr(durable, "publish", publish_and_die)


@pytest.fixture
def begun(run, tmp_path, monkeypatch):
    """A run of the tiny config that was killed in its first stage: its folder."""
    with monkeypatch.context() as patch:
        killed_after(patch, "evaluate")
        with pytest.raises(Killed):
            run("begun")
    return tmp_path / "begun" / "run"


@pytest.mark.slow
def test_a_run_that_is_killed_ends_as_one_that_is_not(run, tmp_path, monkeypatch):
    run("whole")
    expected = outcome(tmp_path / "whole" / "run")
    for i, name in enumerate(("practise", "imitate", "branch", "gate")):
        with monkeypatch.context() as patch:
            killed_after(patch, name)
            with pytest.raises(Killed):
                run("killed", resume=i > 0)
        where = state(tmp_path / "killed" / "run")
        assert not where.complete
        assert any(stage.startswith(f"001 {name}") for stage in where.under_way)
    run("killed", resume=True)
    assert outcome(tmp_path / "killed" / "run") == expected
    assert state(tmp_path / "killed" / "run").complete

    lines = (tmp_path / "killed" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(len(lines)))
    before = (tmp_path / "killed" / "run" / "journal.jsonl").read_bytes()
    run("killed", resume=True)  # there is nothing left to do
    assert (tmp_path / "killed" / "run" / "journal.jsonl").read_bytes() == before
    assert outcome(tmp_path / "killed" / "run") == expected


@pytest.mark.slow
def test_what_is_damaged_is_set_aside_and_done_again(run, tmp_path, capsys):
    run("run", branch={}, rounds=2)
    folder = tmp_path / "run" / "run"
    expected = outcome(folder)
    damaged = [*folder.glob("round_001/episodes/*.parquet"), folder / "round_001" / "sft" / "model.safetensors"]
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    capsys.readouterr()
    run("run", resume=True, branch={}, rounds=2)
    said = capsys.readouterr().out
    for path in damaged:
        assert f"{str(path.relative_to(folder.parent))!r} is damaged: set aside as 'run/quarantine/" in said
    assert outcome(folder) == expected
    assert len(list((folder / "quarantine").iterdir())) == 2


@pytest.mark.slow
def test_more_rounds_go_on_from_the_last(tmp_path, monkeypatch):
    def go(folder, resume=False, **changes):
        tiny.prepare(tmp_path / folder, **changes)
        monkeypatch.chdir(tmp_path / folder)
        tiny.go(resume)

    with tiny.cheap():
        go("long", rounds=2)
        go("short", rounds=1)
        go("short", resume=True, rounds=2, workers=2)
    (files, long), (longer, short) = (outcome(tmp_path / name / "run") for name in ("long", "short"))
    del files["config.yaml"], longer["config.yaml"], long["config"], short["config"]
    assert longer == files
    assert short == long  # the budget too: it is that of a run of two rounds, with one report after the last


def test_a_run_goes_on_only_as_it_began(run, begun, monkeypatch):
    before = hashes(begun)
    for changes, message in (
        ({"seed": 1}, r"'run' began with another config: seed = 1 \(was 0\); valid: as it was, or another --out"),
        ({"gate": {"episodes": 2, "p_value": 1.0}}, r"gate.episodes = 2 \(was 1\)"),
        ({"sft": TRAINER | {"learning_rate": 1.0}}, r"sft.learning_rate = 1.0 \(was None\)"),
    ):
        with pytest.raises(UserError, match=message):
            run("begun", resume=True, **changes)
    with pytest.raises(UserError, match="valid: --resume, another --out, or --overwrite"):
        run("begun")
    with pytest.raises(UserError, match="--resume goes on with the run that --overwrite deletes; valid: one of them"):
        run("begun", resume=True, overwrite=True)
    assert hashes(begun) == before


def test_other_packages_are_named(run, begun, monkeypatch):
    monkeypatch.setattr(resume, "versions", lambda: provenance.versions() | {"torch": "0.1"})
    with pytest.raises(UserError, match=r"other versions: torch 0.1 \(was .*\); valid: those, or --force-version"):
        run("begun", resume=True)


def test_other_weights_of_the_seed_policy_are_named(run, begun, fresh_backend, tmp_path):
    with torch.no_grad():
        next(fresh_backend.model.parameters()).add_(1)
    fresh_backend.save(tmp_path / "other")
    (begun.parent / "nano").unlink()
    (begun.parent / "nano").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="policy 'nano' has other weights than when 'run' began; valid: as it was"):
        run("begun", resume=True)


def test_a_full_disk_is_one_line_and_the_run_can_go_on(run, tmp_path, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    began, fsync = RunDir.begin, os.fsync

    def begin(*told):
        began(*told)
        monkeypatch.setattr(os, "fsync", full)

    monkeypatch.setattr(RunDir, "begin", begin)
    with pytest.raises(UserError, match=r"no space is left for 'run/.*; valid: more free space"):
        run("full")
    monkeypatch.setattr(os, "fsync", fsync)
    assert "to go on: handeye improve run/config.yaml --resume" in capsys.readouterr().out
    assert state(tmp_path / "full" / "run").text.startswith("round 0 of 1, does not run")


def test_there_has_to_be_a_run(run, tmp_path):
    with pytest.raises(UserError, match=r"no run to resume in 'run' \(no journal.jsonl\)"):
        run("none", resume=True)
    with pytest.raises(UserError, match="no run in"):
        state(tmp_path / "none")
