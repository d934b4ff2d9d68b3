"""A training that is stopped, once and again, ends with the weights of one that was not, bit for bit."""

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from agent.optimise.dpo import train_dpo
from agent.optimise.sft import train_sft
from agent.organise.outcome import Outcome
from agent.organise.rows import Example, Pair
from policies import prompt
from policies.backends.loading import load_backend, load_trainable
from policies.backends.settings import Lora, ModelSettings

rng = np.random.default_rng(0)
COLOURS = ("red", "blue", "green")
EXAMPLES = [
    Example(
        rng.integers(0, 256, (1, 64, 64, 3), np.uint8),
        prompt.user(f"reach the {COLOURS[i % 3]} cube"),
        f"{COLOURS[i % 3]} cube {i} 2; move +1 -{i % 3}",
    )
    for i in range(8)
]
PAIRS = [Pair(e.frames, e.prompt, e.answer, "move +3 +3", Outcome(1.0, 0.5)) for e in EXAMPLES]
LORA = ModelSettings(lora=Lora(r=4, alpha=8, dropout=0.2))
# Two epochs of four steps, each step of two batches of one row; saved after the steps 2, 4 and 6.
SETTINGS = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 3,
    "logging_steps": 1,
    "save_steps": 2,
}


class Stopped(Exception):  # noqa: N818 (no error)
    """As if the process had ended here."""


class Steps(TrainerCallback):
    """The steps that are trained, in `taken`. stop: after this step the training ends; 0: before `on_train_end`."""

    def __init__(self, stop=None):
        self.stop, self.taken, self.before = stop, [], None

    def on_train_begin(self, args, state, control, **kwargs):
        self.before = [line["step"] for line in state.log_history]

    def on_step_end(self, args, state, control, **kwargs):
        self.taken.append(state.global_step)
        if state.global_step == self.stop:
            raise Stopped

    def on_train_end(self, args, state, control, **kwargs):
        if self.stop == 0:
            raise Stopped


def weights(backend):
    return {name: p.detach().clone() for name, p in backend.model.named_parameters()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def sft(checkpoint, out, rows=EXAMPLES, listeners=(), model=None, **settings):
    backend = load_trainable(checkpoint, model or ModelSettings())
    train_sft(backend.model, backend.processor, rows, out, SETTINGS | settings, listeners)
    return weights(backend)


def dpo(checkpoint, out, rows=PAIRS, listeners=(), model=None, **settings):
    backend = load_trainable(checkpoint, model or ModelSettings())
    reference = None if model else load_backend(checkpoint).model
    train_dpo(backend.model, reference, backend.processor, rows, out, SETTINGS | settings, listeners)
    return weights(backend)


def stopped(train, *arguments, stop, **settings):
    """Train until it stops; the steps that were trained, and those that were known when it began."""
    steps = Steps(stop)
    with pytest.raises(Stopped):
        train(*arguments, listeners=[steps], **settings)
    return steps.taken, steps.before


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@pytest.mark.slow
@pytest.mark.parametrize("train", [sft, dpo])
@pytest.mark.parametrize(("kind", "model"), [("nano", None), ("llava", LORA)])
def test_a_training_that_is_stopped_again_and_again_ends_as_if_it_was_not(train, kind, model, request, tmp_path):
    """Within an epoch, at its boundary, within the next, whose order of rows is another, and after the last step."""
    checkpoint, out = request.getfixturevalue(f"{kind}_checkpoint"), tmp_path / "out"
    undisturbed = train(checkpoint, tmp_path / "other", model=model, save_strategy="no")
    assert not (tmp_path / "other").exists() or not names(tmp_path / "other")

    arguments = {"model": model}
    assert stopped(train, checkpoint, out, stop=3, **arguments) == ([1, 2, 3], [])
    assert stopped(train, checkpoint, out, stop=5, **arguments) == ([3, 4, 5], [1, 2])
    assert stopped(train, checkpoint, out, stop=7, **arguments) == ([5, 6, 7], [1, 2, 3, 4])
    assert stopped(train, checkpoint, out, stop=0, **arguments) == ([7, 8], [1, 2, 3, 4, 5, 6])
    assert names(out) == ["whole-4", "whole-6"]
    last = Steps()
    assert_equal(train(checkpoint, out, listeners=[last], **arguments), undisturbed)
    assert last.taken == [7, 8]
