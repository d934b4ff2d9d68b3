"""An experiment of two arms and two seeds that takes seconds."""

import json

import pytest

from agent.config import Experiment


@pytest.fixture
def comparison(nano_checkpoint, tmp_path):
    base = {
        "policy": str(nano_checkpoint),
        "tasks": ["reach"],
        "rounds": 1,
        "threads": 1,
        "collect": {"starts": 2, "attempts": 1},
        "gate": {"episodes": 1},
        "evaluation": {"tasks": ["reach"], "episodes": 2, "videos": 0},
        "tracking": {"mode": "disabled"},
    }
    (tmp_path / "base.yaml").write_text(json.dumps(base))
    arms = {"plain": {}, "branches": {"branch.failures": 1, "branch.where": "uniform"}}
    common = {"collect.attempts": 2, "sft": {"max_steps": 1, "learning_rate": 5e-05}}
    return Experiment(str(tmp_path / "out"), str(tmp_path / "base.yaml"), (0, 1), arms, common)
