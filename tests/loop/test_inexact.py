"""A task whose episodes do not happen again, by its file's word, is practised without certificates and branches, beside
one with them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from near import near_run, near_task

from agent.collect.workers import Workers
from agent.commands.reporting.replay import Replay
from agent.config import load
from agent.loop import improve
from agent.organise.pairs import forks
from agent.organise.store import EpisodeStore
from agent.record.rundir import RunDir
from envs.registry import TASKS

pytestmark = pytest.mark.slow
BRANCH = {"failures": 4, "moments": 1, "answers": 2}


def test_it_alone_loses_certificates_and_branches(monkeypatch, any_action, nano_checkpoint, tmp_path, capsys):
    near = near_task(any_action)
    monkeypatch.setitem(TASKS, "near", near)
    monkeypatch.setitem(TASKS, "loose", replace(near, name="loose", exact=False))
    path = tmp_path / "tiny.yaml"
    keys = near_run(str(nano_checkpoint), tmp_path / "run") | {"tasks": ["near", "loose"], "branch": BRANCH}
    path.write_text(json.dumps(keys))  # JSON is YAML
    config = load(path)
    with Workers(1) as workers:
        results = improve(config, RunDir(Path(config.out)), workers)
    assert results["inexact"] == ["loose"]
    assert "task 'loose', exact: false: without certificates and branches" in capsys.readouterr().out
    run = Path(config.out)
    practised, branches = (list(EpisodeStore(run / "round_001" / name)) for name in ("episodes", "branches"))
    assert {e.task for e in practised} == {"near", "loose"}
    assert {e.task for e in branches} == {"near"}
    steps = sum(len(e.own) for e in branches) + sum(len(e.steps) for e in practised if e.task == "near")
    assert results["budget"]["verify_env_steps"] - results["budget"]["restore_env_steps"] == steps
    loose = [e for e in practised if e.task == "loose"]
    moments = [fork.task for fork in forks([*branches, *loose])]
    assert results["rounds"][0]["branched"]["moments"] == len(moments)
    assert set(moments) == {"near", "loose"}
    Replay(run).run()
    said = " ".join(capsys.readouterr().out.split())
    folders = {part.parent for part in run.rglob("part-*.parquet")}
    loose = [e for folder in folders for e in EpisodeStore(folder) if e.task == "loose"]
    assert f"{len(loose)} episodes of 'loose' skipped: exact is false in its file" in said
