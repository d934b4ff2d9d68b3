"""The trainings of a round, in any order: what each learns from, what it saves, and what the round's row says."""

import json
from pathlib import Path

import pytest
from near import near_run, near_task

from agent.collect.workers import Workers
from agent.config import load
from agent.config.optimisers import in_order
from agent.loop import improve
from agent.record.provenance import FILE, weights_sha256
from agent.record.rundir import RunDir
from envs.errors import UserError
from envs.registry import TASKS

GRPO = {"max_steps": 2, "per_device_train_batch_size": 4, "num_generations": 2, "learning_rate": 1e-3}
GRPO |= {"logging_steps": 1}


@pytest.fixture
def config(nano_checkpoint, tmp_path, monkeypatch, any_action):
    """Makes a tiny run's config."""
    monkeypatch.setitem(TASKS, "near", near_task(any_action))

    def make(**changes):
        path = tmp_path / "tiny.yaml"
        values = near_run(str(nano_checkpoint), tmp_path / "run")
        path.write_text(json.dumps(values | {"kto": values["sft"], "awr": values["sft"], "grpo": GRPO} | changes))
        return load(path)

    return make


def test_the_last_training_makes_the_policy():
    chain = in_order(("sft", "dpo", "grpo", "dpo"))
    assert [each.out for each in chain] == ["sft", "dpo", "grpo", "policy"]
    assert [each.branches for each in chain] == ["", "branches", "branches_2", "branches_3"]
    assert [each.out for each in in_order(("sft", "dpo", "dpo", "dpo"))] == ["sft", "dpo", "dpo_2", "policy"]
    assert [(each.out, each.branches) for each in in_order(("sft",))] == [("policy", "")]


@pytest.mark.parametrize("methods", [[], ["ppo"], ["sft", "sgd"]])
def test_unknown_trainings_are_refused(config, methods):
    with pytest.raises(UserError, match="optimise"):
        config(optimise=methods)


@pytest.mark.slow
@pytest.mark.parametrize("methods", [["sft"], ["sft", "kto", "awr", "grpo"]])
def test_each_trains_the_checkpoint_before_it(config, methods):
    """On the answers of practice, without branches; GRPO's steps are charged as theirs would be."""
    evaluation = {"tasks": ["near"], "episodes": 1, "videos": 0}
    settings = config(optimise=methods, evaluation=evaluation, gate={"episodes": 1})
    path = Path(settings.out)
    with Workers(1) as workers:
        results = improve(settings, RunDir(path), workers)
    (row,), parent = results["rounds"], weights_sha256(Path(settings.policy))
    assert row["sft_examples"] > 0 == row["pairs"]
    for each in in_order(settings.optimise):
        folder = path / "round_001" / each.out
        signed = json.loads((folder / FILE).read_text())
        assert (signed["stage"], signed["parent"]["weights"]) == (each.method, parent)
        parent = weights_sha256(folder)
        assert parent != signed["parent"]["weights"]
    logged = {name for line in (path / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}
    assert {f"{method}/loss" for method in methods} <= logged
    if "grpo" in methods:
        assert row["labelled"]["good"] > 0 < row["labelled"]["bad"]
        assert row["weighted"] > 0 < row["groups"]
        assert results["budget"]["branch_env_steps"] > 0
