"""A training that gives no policy stops with the fault's name, and nothing of it is saved."""

import math

import numpy as np
import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agent.config import Pretrain, Stage
from agent.optimise.dpo import train_dpo
from agent.optimise.health import Health, UnhealthyError
from agent.optimise.pretrain import pretrain
from agent.optimise.sft import train_sft
from agent.organise.outcome import Outcome
from agent.organise.rows import Example, Pair, rehearsal
from policies import prompt
from policies.backends.loading import load_backend

SETTINGS = {"per_device_train_batch_size": 4, "logging_steps": 100, "lr_scheduler_type": "constant"}
FRAMES = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)


@pytest.fixture
def examples():
    return [Example(FRAMES, prompt.user("where is the red cube"), f"red cube {i}") for i in range(4)]


@pytest.fixture
def pairs(examples):
    return [Pair(e.frames, e.prompt, e.answer, "move +1 +1", Outcome(1.0, 0.0)) for e in examples]


def sft(backend, rows, out, **settings):
    return train_sft(backend.model, backend.processor, rows, out, SETTINGS | settings)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_diverging_learning_rate_is_named_at_its_step(fresh_backend, examples, tmp_path):
    """Between two lines of the log, and before the step makes the weights NaN."""
    with pytest.raises(UnhealthyError, match=r"sft stopped at step 2 of 8: .*sft\.learning_rate = 10000 is too high"):
        sft(fresh_backend, examples, tmp_path, learning_rate=1e4, max_steps=8)
    assert all(torch.isfinite(p).all() for p in fresh_backend.model.parameters())
    assert files(tmp_path) == []


def test_preferring_stops_where_it_diverges_too(nano_checkpoint, pairs, tmp_path):
    backend, reference = load_backend(nano_checkpoint), load_backend(nano_checkpoint)
    settings = SETTINGS | {"learning_rate": 1e4, "max_steps": 8}
    with pytest.raises(UnhealthyError, match=r"dpo stopped at step \d of 8: .*dpo\.learning_rate = 10000"):
        train_dpo(backend.model, reference.model, backend.processor, pairs, tmp_path, settings)
    assert files(tmp_path) == []


def test_weights_that_the_last_step_breaks_are_not_saved(fresh_backend, examples, tmp_path):
    """The last gradient is finite, and what the step makes of the weights is not."""
    settings = {"learning_rate": 3e38, "optim": "sgd", "max_grad_norm": 0.0, "max_steps": 1}
    with pytest.raises(UnhealthyError, match=r"sft stopped at step 1 of 1: \d+ of \d+ trained tensors .*learning_rate"):
        sft(fresh_backend, examples, tmp_path, **settings)
    assert files(tmp_path) == []


def test_a_policy_with_broken_weights_is_not_blamed_on_the_learning_rate(fresh_backend, examples, tmp_path):
    next(fresh_backend.model.parameters()).data.fill_(math.nan)
    with pytest.raises(UnhealthyError, match=r"sft stopped at step 1 of 3: .*the weights are still as they were"):
        sft(fresh_backend, examples, tmp_path, max_steps=3)


def test_answers_cut_off_are_named_before_training(fresh_backend, examples, tmp_path):
    steps = []

    class Steps(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            steps.append(state.global_step)

    settings = SETTINGS | {"max_length": 20}
    with pytest.raises(
        UnhealthyError, match=r"sft: row 1 of 4 has no supervised token: sft\.max_length = 20 cuts"
    ) as told:
        train_sft(fresh_backend.model, fresh_backend.processor, examples, tmp_path, settings, [Steps()])
    assert steps == []
    enough = int(str(told.value).split()[-1])  # the message's "at least ..."
    sft(fresh_backend, examples, tmp_path, max_length=enough, max_steps=1)


def test_one_row_that_is_too_long_is_found(fresh_backend, examples, tmp_path):
    long = Example(FRAMES, prompt.user("where is the red cube " * 20), "red cube 1")
    rows = [*examples * 9, long]
    with pytest.raises(UnhealthyError, match=r"row 37 of 37 has no supervised token: sft\.max_length = 60"):
        sft(fresh_backend, rows, tmp_path, max_length=60, max_steps=1)


def test_pairs_cut_off_are_named_before_training(nano_checkpoint, pairs, tmp_path):
    backend, reference = load_backend(nano_checkpoint), load_backend(nano_checkpoint)
    with pytest.raises(UnhealthyError, match=r"dpo: row 1 of 4 has no supervised token: dpo\.max_length = 20"):
        train_dpo(backend.model, reference.model, backend.processor, pairs, tmp_path, {"max_length": 20})


def test_gradients_of_zero_train_nothing(nano_checkpoint, pairs, tmp_path):
    backend, reference = load_backend(nano_checkpoint), load_backend(nano_checkpoint)
    settings = SETTINGS | {"beta": 0.0, "max_steps": 4}
    with pytest.raises(UnhealthyError, match=r"dpo stopped at step 4 of 4: nothing is trained: .*dpo\.beta = 0"):
        train_dpo(backend.model, reference.model, backend.processor, pairs, tmp_path, settings)


def test_what_prefers_nothing_but_rehearses_is_healthy(nano_checkpoint, examples, tmp_path):
    backend, reference = load_backend(nano_checkpoint), load_backend(nano_checkpoint)
    settings = SETTINGS | {"max_steps": 2, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]}
    rows = [rehearsal(example) for example in examples]
    metrics = train_dpo(backend.model, reference.model, backend.processor, rows, tmp_path, settings)
    assert math.isfinite(metrics["train_loss"])


@pytest.mark.parametrize(
    ("name", "value"), [("num_train_epochs", 0), ("dataloader_drop_last", True)], ids=lambda value: str(value)
)
def test_a_training_without_a_step_is_named(fresh_backend, examples, tmp_path, name, value):
    with pytest.raises(UnhealthyError, match=rf"sft took no step: .*sft\.{name} = {value}"):
        sft(fresh_backend, examples[:3], tmp_path, **{name: value})


def test_a_scaler_that_lowers_its_scale_is_no_fault(tmp_path):
    """In float16 the first steps overflow until the scale fits: only a scale that never fits is a fault."""
    layer = torch.nn.Linear(1, 1)
    health, state, control = Health("sft"), TrainerState(max_steps=99), TrainerControl()
    args = TrainingArguments(str(tmp_path), fp16=True)

    def steps(*gradients):
        for gradient in gradients:
            layer.weight.grad = torch.full((1, 1), gradient)
            health.on_pre_optimizer_step(args, state, control, model=layer)

    steps(*[math.inf] * 16, 1.0, *[math.nan] * 16, 1.0)
    with pytest.raises(UnhealthyError, match=r"most likely sft\.fp16 = True"):
        steps(*[math.nan] * 40)


def test_what_is_logged_must_be_finite(tmp_path):
    """The gradient's norm may overflow where its elements do not: they are then clipped to zero."""
    health, state = Health("dpo"), TrainerState(max_steps=9, global_step=5)
    args = TrainingArguments(str(tmp_path), learning_rate=3.0)
    health.on_log(args, state, TrainerControl(), logs={"loss": 1.0, "grad_norm": 2.0})
    for bad in ({"loss": math.nan}, {"loss": 1.0, "grad_norm": math.inf}):
        with pytest.raises(UnhealthyError, match=r"dpo stopped at step 5 of 9: .*dpo\.learning_rate = 3"):
            health.on_log(args, state, TrainerControl(), logs=bad)


def test_pretraining_that_diverges_leaves_no_checkpoint(tmp_path):
    stage = Stage(4, 500_000, sft=SETTINGS | {"learning_rate": 1e4, "max_steps": 4})
    with pytest.raises(UnhealthyError, match=r"stages\.sight\.sft stopped at step 2 of 4: .*learning_rate"):
        pretrain(Pretrain(str(tmp_path / "seed"), ("reach",), {"sight": stage}))
    assert list(tmp_path.iterdir()) == []
