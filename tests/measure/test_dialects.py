"""What a dialect is worth: each is measured on the same situations."""

import pytest

from agent.measure.dialects import DIALECTS, Measure, measured
from envs.errors import UserError
from envs.registry import TASKS
from policies.backends import nano
from policies.backends.huggingface import HFBackend


def test_each_dialect_is_measured_on_the_same_situations():
    backend = HFBackend(*nano.build(("move", "left", "right", "up", "down", "elf", "holes"), seed=0))
    backend.model.config.text_config.max_position_embeddings = 4096
    terse, chat = measured(backend, TASKS["frozen-lake"], ("terse", "chat"), 2, 1)
    assert (terse["dialect"], chat["dialect"]) == ("terse", "chat")
    assert 16 < terse["tokens"] < 200 < chat["tokens"]
    for row in (terse, chat):
        assert 0 < float(row["form"]) < 1e-3  # of random weights
        assert row["actions"].endswith(" of 2")
        assert row["success"].startswith(("0 of 1", "1 of 1"))


def test_an_unknown_dialect_is_named():
    with pytest.raises(UserError, match=r"unknown dialect 'chatty'.*valid: .*|did you mean"):
        Measure("seed", dialects=("chatty",)).run()
    assert all(set(changes) <= {"dialect", "examples"} for changes in DIALECTS.values())
