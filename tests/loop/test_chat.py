"""A tiny run of the whole loop in the chat dialect."""

import re

import pytest

from agent.collect.workers import Workers
from agent.config import Config
from agent.loop import improve
from agent.organise import selection
from agent.record.rundir import RunDir
from agent.stages.round import Round
from envs.registry import TASKS
from envs.validation import checked
from policies import critic
from policies.backends import nano
from policies.backends.huggingface import HFBackend
from policies.dialect import chat_for

pytestmark = pytest.mark.slow
TRAINER = {"max_steps": 1, "per_device_train_batch_size": 2}


@pytest.fixture
def toy(toy_task, monkeypatch):
    """A task of four steps that every other start solves in two."""
    task = toy_task(ends={seed: 2 for split in (0, 1_000_000, 2_000_000) for seed in range(split, split + 100, 2)})
    monkeypatch.setitem(TASKS, "toy", task)
    return task


def test_a_policy_is_trained_on_the_prompts_that_it_is_asked_with(toy, tmp_path):
    chat = chat_for(toy, 1)
    known = dict.fromkeys(re.findall(r"[+-]?\w+|[^\w\s]", str(chat)))
    model, processor = nano.build((*known, *critic.VERDICTS), seed=0)
    model.config.text_config.max_position_embeddings = 4096
    HFBackend(model, processor).save(tmp_path / "policy")
    values = {
        "policy": str(tmp_path / "policy"),
        "tasks": ["toy"],
        "out": str(tmp_path / "run"),
        "rounds": 1,
        "model": {"dialect": "chat", "examples": 1},
        "collect": {"starts": 4, "attempts": 2},
        "gate": {"episodes": 2},
        "critic": {"proposals": 2, "revisions": 1},
        "evaluation": {"tasks": ["toy"], "episodes": 2, "videos": 0},
        "tracking": {"mode": "disabled"},
        "sft": TRAINER,
        "dpo": TRAINER,
    }
    config = checked(Config, values)
    run = RunDir(tmp_path / "run")
    with Workers(1) as workers:
        results = improve(config, run, workers)
        r = Round(1, config, run, workers, None, {})
    rows = selection.examples(r.learned()[1], r.dialect)
    assert len(rows) == results["rounds"][0]["sft_examples"] == 4  # two starts, two steps
    asked = [chat.act(step.observation) for episode in r.episodes("episodes") for step in episode.steps]
    assert all(row.prompt in asked for row in rows)
