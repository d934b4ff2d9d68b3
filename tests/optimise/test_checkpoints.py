"""A training that is stopped, once and again, ends with the weights of one that was not, bit for bit."""

import errno
import json
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainerCallback, TrainerState

from agent.optimise.callbacks import BarCallback
from agent.optimise.checkpoints import MARKER, Checkpoints, training_sha256
from agent.optimise.dpo import train_dpo
from agent.optimise.health import UnhealthyError
from agent.optimise.sft import sft_trainer, train_sft
from agent.organise.outcome import Outcome
from agent.organise.rows import Example, Pair
from envs.errors import UserError
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
    for i in range(7)
]
PAIRS = [Pair(e.frames, e.prompt, e.answer, "move +3 +3", Outcome(1.0, 0.5)) for e in EXAMPLES]
LORA = ModelSettings(lora=Lora(r=4, alpha=8, dropout=0.2))
# Two epochs of four steps of two rows, the last of one; saved after the steps 2, 4 and 6.
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
@pytest.mark.parametrize(("kind", "model"), [("nano", None), ("llava", None), ("llava", LORA)])
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


@pytest.mark.parametrize("name", ["save_only_model", "sync_ref_model", "ignore_data_skip"])
def test_what_could_not_go_on_exactly_is_not_saved(nano_checkpoint, tmp_path, name):
    train = dpo if name == "sync_ref_model" else sft
    stopped(train, nano_checkpoint, tmp_path, stop=3, **{name: True})
    assert names(tmp_path) == []
    assert stopped(train, nano_checkpoint, tmp_path, stop=1, **{name: True}) == ([1], [])


def test_nothing_is_unpickled_that_could_run_code(nano_checkpoint, tmp_path, monkeypatch):
    stopped(sft, nano_checkpoint, tmp_path, stop=3)
    load, loaded = torch.load, []

    def recorded(file, **settings):
        loaded.append((Path(file).name, settings["weights_only"]))
        return load(file, **settings)

    monkeypatch.setattr(torch, "load", recorded)
    stopped(sft, nano_checkpoint, tmp_path, stop=3)
    assert sorted(loaded) == [("optimizer.pt", True), ("rng_state.pth", True), ("scheduler.pt", True)]
    left = {path.name for path in (tmp_path / "whole-2").iterdir()} - {name for name, _ in loaded}
    assert {Path(name).suffix for name in left} <= {".json", ".safetensors", ".jinja"}


def test_a_checkpoint_at_each_epoch_is_kept_too(nano_checkpoint, tmp_path):
    settings = {"save_strategy": "epoch", "per_device_train_batch_size": 4}  # a step an epoch
    assert stopped(sft, nano_checkpoint, tmp_path, stop=0, num_train_epochs=3, **settings) == ([1, 2, 3], [])
    assert names(tmp_path) == ["whole-1", "whole-2"]
    assert stopped(sft, nano_checkpoint, tmp_path, stop=0, num_train_epochs=3, **settings) == ([3], [1, 2])


# what is not whole, or of another training ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def interrupted(nano_checkpoint, tmp_path_factory):
    """A trainer's folder with two whole checkpoints."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    stopped(sft, nano_checkpoint, out, stop=4, save_steps=1)
    return out


def truncate(folder):
    path = folder / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = [
    (truncate, "optimizer.pt"),
    (flip, "model.safetensors"),
    (lambda folder: (folder / "scheduler.pt").unlink(), "scheduler.pt"),
    (lambda folder: (folder / "pytorch_model.bin").write_text("else"), "pytorch_model.bin"),
    (lambda folder: (folder / MARKER).unlink(), MARKER),
    (lambda folder: (folder / MARKER).write_text("{"), "Expecting"),
    (lambda folder: (folder / MARKER).write_text("[]"), "list"),
]


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_damaged_checkpoint_is_named_and_deleted_and_the_one_before_is_taken(
    interrupted, tmp_path, capsys, damage, told
):
    out = tmp_path / "out"
    shutil.copytree(interrupted, out)
    (out / "checkpoint-4").mkdir()  # of a process that ended while it was written
    training = json.loads((out / "whole-3" / MARKER).read_text())["training"]
    damage(out / "whole-3")
    assert Checkpoints(out, training, 0).newest() == out / "whole-2"
    assert names(out) == ["whole-2"]
    (line,) = capsys.readouterr().out.splitlines()
    assert str(out / "whole-3") in line
    assert told in line


def test_a_checkpoint_of_another_training_is_not_taken(interrupted, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(interrupted, out)
    assert Checkpoints(out, "another", 0).newest() is None
    assert names(out) == []
    assert capsys.readouterr().out == ""


def test_a_training_is_its_rows_settings_and_weights(nano_checkpoint, tmp_path):
    def identity(rows=EXAMPLES, out=tmp_path, change=0.0, **settings):
        backend = load_backend(nano_checkpoint)
        next(backend.model.parameters()).data.add_(change)
        return training_sha256(sft_trainer(backend.model, backend.processor, rows, out, SETTINGS | settings), rows)

    first, *rest = EXAMPLES
    others = [
        identity(rest),
        identity([*rest, first]),
        identity([Example(first.frames ^ 1, first.prompt, first.answer), *rest]),
        identity([Example(first.frames, first.prompt, "red cube 3 2; move +1 -1"), *rest]),
        identity([Example(first.frames, rest[0].prompt, first.answer), *rest]),
        identity(learning_rate=2e-3),
        identity(seed=1),
        identity(change=1e-3),
    ]
    assert identity() == identity(out=tmp_path / "elsewhere")
    assert len({identity(), *others}) == 1 + len(others)


# what cannot be written -------------------------------------------------------------------------------------------
@contextmanager
def largest_file(size):
    """Writing fails beyond this many bytes of a file, as it fails on a full disk, but with another error number."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [1_000_000, 10_000_000], ids=["weights", "optimiser"])
def test_a_checkpoint_that_cannot_be_written_leaves_nothing_half(nano_checkpoint, tmp_path, size):
    """By safetensors, which writes the weights, and by torch, which writes the optimiser's state."""
    stopped(sft, nano_checkpoint, tmp_path, stop=3)
    with largest_file(size), pytest.raises(UserError, match=r"no checkpoint can be written.* needs 21\.\d MB; valid: "):
        sft(nano_checkpoint, tmp_path)
    assert names(tmp_path) == ["whole-2"]
    assert stopped(sft, nano_checkpoint, tmp_path, stop=3) == ([3], [1, 2])  # there is room again


def test_a_full_disk_is_told_with_what_is_needed(nano_checkpoint, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TrainerState, "save_to_json", full)
    with pytest.raises(UserError, match=r"no space is left for .* needs 21\.\d MB; valid: more free space"):
        sft(nano_checkpoint, tmp_path)
    assert names(tmp_path) == []


def test_what_fails_beside_saving_is_not_blamed_on_the_disk(nano_checkpoint, tmp_path):
    class Breaks(TrainerCallback):
        def __init__(self, error):
            self.error = error

        def on_step_begin(self, args, state, control, **kwargs):
            raise self.error

    for error in (OSError(errno.EIO, "a row cannot be read"), RuntimeError("out of memory")):
        with pytest.raises(type(error), match=str(error.args[-1])):
            sft(nano_checkpoint, tmp_path, listeners=[Breaks(error)])


# what else goes on ------------------------------------------------------------------------------------------------
def test_gradients_of_zero_are_counted_from_the_first_step_on(nano_checkpoint, tmp_path):
    stopped(dpo, nano_checkpoint, tmp_path, stop=5, beta=0.0)
    with pytest.raises(UnhealthyError, match="dpo stopped at step 8 of 8: nothing is trained: every gradient"):
        dpo(nano_checkpoint, tmp_path, beta=0.0)


def test_the_bar_goes_on_at_its_step():
    at = []

    class Recorder:
        def at(self, completed, note="", total=None):
            at.append((completed, total))

    BarCallback(Recorder()).on_train_begin(None, TrainerState(global_step=4, max_steps=8), None)
    assert at == [(4, 8)]
