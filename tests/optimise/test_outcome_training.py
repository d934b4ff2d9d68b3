"""KTO and GRPO on a handful of rows: what is good gains probability, held against the policy as it was."""

import numpy as np
import pytest
import torch
from test_checkpoints import EXAMPLES, LORA
from transformers import TrainerCallback

from agent.optimise.grpo import constrained, train_grpo
from agent.optimise.health import UnhealthyError
from agent.optimise.kto import train_kto
from agent.organise.rows import Labelled
from policies.backend import Request
from policies.backends.loading import load_backend, load_trainable

KTO = {"per_device_train_batch_size": 8, "learning_rate": 2e-4, "logging_steps": 1, "max_steps": 6, "seed": 0}
GRPO = {"per_device_train_batch_size": 16, "num_generations": 8, "learning_rate": 3e-4, "logging_steps": 1, "seed": 0}
REGEX = r"move [+-][0-3] [+-][0-3]"


class Logs(TrainerCallback):
    def __init__(self):
        self.values = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.values.append(dict(logs))

    def of(self, name):
        return [logs[name] for logs in self.values if name in logs]


@pytest.fixture(scope="module")
def labelled():
    good = [Labelled(e.shown, e.prompt, e.answer) for e in EXAMPLES]
    return good + [Labelled(e.shown, e.prompt, "move +3 +3", good=False) for e in EXAMPLES]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [None, LORA], ids=["whole", "adapters"])
def test_kto_parts_good_from_bad_beginning_at_its_reference(nano_checkpoint, labelled, tmp_path, settings):
    """Rewards are log-ratios to the reference: at the first step all are 0."""
    logs = Logs()
    backend = load_trainable(nano_checkpoint, settings, seed=0) if settings else load_backend(nano_checkpoint)
    reference = None if settings else load_backend(nano_checkpoint).model
    before = None if settings else {name: value.clone() for name, value in reference.state_dict().items()}
    rate = {"learning_rate": 1e-2} if settings else {}
    train_kto(backend.model, reference, backend.processor, labelled, tmp_path, KTO | rate, [logs])
    first, last = (
        {name: logs.of(f"rewards/{name}")[i] for name in ("chosen", "rejected") if logs.of(f"rewards/{name}")}
        for i in (0, -1)
    )
    assert list(first.values()) == pytest.approx([0.0] * len(first), abs=1e-4)
    assert last["chosen"] > last["rejected"]
    if before:
        assert all(torch.equal(before[name], value) for name, value in reference.state_dict().items())


@pytest.mark.slow
def test_grpo_learns_what_is_rewarded_under_the_grammar(fresh_backend, tmp_path):
    """Answers that move right are rewarded; every answer is of the grammar, and the reward knows its prompt."""
    seen = []

    def reward(answers, numbers):
        seen.append((answers, numbers))
        return [float("move +" in answer) for answer in answers]

    logs = Logs()
    train_grpo(fresh_backend, REGEX, EXAMPLES, reward, tmp_path, GRPO | {"max_steps": 12}, [logs])
    answers = [answer for some, _ in seen for answer in some]
    assert all(len(answer) == len("move +1 +1") for answer in answers)
    assert {number for _, numbers in seen for number in numbers} <= set(range(len(EXAMPLES)))
    rewards = logs.of("reward")
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2
    said = fresh_backend.generate([Request(e.frames, e.prompt) for e in EXAMPLES], REGEX, 1.0, range(len(EXAMPLES)))
    assert np.mean([answer.startswith("move +") for answer in said]) > 0.8


@pytest.mark.slow
def test_without_a_difference_in_reward_grpo_has_no_policy(fresh_backend, tmp_path):
    """Episodes that broke have none (None)."""

    def reward(answers, numbers):
        return [None if i % 2 else 1.0 for i in range(len(answers))]

    with pytest.raises(UnhealthyError, match="every gradient so far is exactly 0"):
        train_grpo(fresh_backend, REGEX, EXAMPLES, reward, tmp_path, GRPO | {"max_steps": 1})


def test_the_grammar_is_gone_afterwards(fresh_backend):
    generate = fresh_backend.model.generate
    with pytest.raises(KeyError), constrained(fresh_backend, REGEX):
        raise KeyError
    assert fresh_backend.model.generate == generate
