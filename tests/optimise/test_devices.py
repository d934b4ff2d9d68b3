"""Several devices: one process takes one of them, and a training in several processes is that in one."""

import json
from copy import copy
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from test_checkpoints import EXAMPLES, LORA, PAIRS, Steps
from transformers import TrainerCallback

from agent.optimise import sft
from agent.optimise.dpo import train_dpo
from agent.optimise.health import UnhealthyError
from agent.optimise.processes.distributed import Training, check_devices, divided, train_apart
from agent.optimise.sft import train_sft
from envs.errors import UserError
from policies.backends.loading import load_trainable
from policies.backends.settings import Lora, ModelSettings

SETTINGS = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "max_steps": 4,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_steps": 2,
    "seed": 0,
}
TWO = ModelSettings(device="cpu", lora=Lora(r=4, alpha=8), devices=2)


class Losses(TrainerCallback):
    def __init__(self):
        self.values = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.values.append(logs["loss"])


def test_one_process_takes_one_of_several_devices(fresh_backend, tmp_path, monkeypatch, capsys):
    """trl's trainers refuse several visible GPUs in one process."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sft._say_once.cache_clear()
    settings = SETTINGS | {"max_steps": 1, "save_strategy": "no"}
    train_sft(fresh_backend.model, fresh_backend.processor, EXAMPLES, tmp_path / "sft", settings)
    train_dpo(
        fresh_backend.model, copy(fresh_backend.model), fresh_backend.processor, PAIRS, tmp_path / "dpo", settings
    )
    said = "2 devices are visible, and training uses cpu; model.devices: N uses N of them\n"
    assert capsys.readouterr().out.count(said) == 1


def test_the_rows_of_a_step_are_divided(monkeypatch):
    size, times = "per_device_train_batch_size", "gradient_accumulation_steps"
    assert divided({size: 3, times: 4}, "sft", 2) == {size: 3, times: 2}
    assert divided({}, "sft", 2) == {size: 4}
    with pytest.raises(UserError, match=r"model.devices = 2, and sft.per_device_train_batch_size = 3 times .* = 1 do"):
        check_devices(TWO, {"dpo": {}, "sft": {size: 3}})
    with pytest.raises(UserError, match=r"model.devices = 2, and 0 are visible; valid: 1 to 0"):
        check_devices(replace(TWO, device="cuda"), {})
    with pytest.raises(UserError, match=r"model.quantise = 'int8'"):
        check_devices(replace(TWO, quantise="int8"), {})
    check_devices(replace(LORA, devices=1), {"sft": {size: 3}})


def training(checkpoint, folder, **changes):
    whole = Training("sft", checkpoint, TWO, 0, EXAMPLES, SETTINGS, folder / "training", folder / "out", threads=2)
    return replace(whole, **changes)


def weights(folder):
    return load_file(Path(folder) / "adapter_model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("section", ["sft", "dpo"])
def test_a_training_in_two_processes_is_that_in_one(nano_checkpoint, tmp_path, section):
    """The same rows in each step give the same losses and weights, but for the order of sums. A training that was
    stopped goes on from its newest whole checkpoint, to the same bits."""
    rows = EXAMPLES[:4] if section == "sft" else PAIRS[:4]
    backend = load_trainable(nano_checkpoint, replace(TWO, devices=1), seed=0)
    alone, together, again = Losses(), Losses(), Steps()
    given = backend.processor, rows, tmp_path / "alone", SETTINGS, [alone]
    if section == "sft":
        train_sft(backend.model, *given)
    else:
        train_dpo(backend.model, None, *given)
    backend.save(tmp_path / "one")
    whole = training(nano_checkpoint, tmp_path, section=section, rows=rows)
    whole.out.mkdir()
    train_apart(whole, [together])
    assert together.values == pytest.approx(alone.values, rel=1e-4)
    assert len(together.values) == 4
    two, one = weights(whole.out), weights(tmp_path / "one")
    assert two.keys() == one.keys()
    assert max(float((two[name] - one[name]).abs().max()) for name in one) < 1e-3
    assert [path.name for path in whole.folder.glob("whole-*")] == ["whole-2"]
    train_apart(replace(whole, out=tmp_path / "again"), [again])
    assert again.taken == [3, 4]
    assert all(torch.equal(weights(tmp_path / "again")[name], two[name]) for name in two)


class Killing(TrainerCallback):
    """Kills the second process after the first step."""

    def on_step_end(self, args, state, control, **kwargs):
        for child in psutil.Process().children(recursive=True):
            if "agent.optimise.processes.rank" in child.cmdline() and child.environ().get("RANK") == "1":
                child.kill()


@pytest.mark.slow
def test_a_process_that_fails_ends_all_with_one_line(nano_checkpoint, tmp_path):
    whole = training(nano_checkpoint, tmp_path, settings=SETTINGS | {"learning_rate": 1e30, "max_steps": 20})
    with pytest.raises(UnhealthyError, match=r"sft stopped at step \d+ of 20: .*sft.learning_rate"):
        train_apart(whole)
    with pytest.raises(UserError, match="one of 2 training processes was killed by SIGKILL"):
        train_apart(replace(whole, settings=SETTINGS | {"max_steps": 500}), [Killing()])
    assert not whole.out.exists()
    assert all(json.loads(path.read_text())["kind"] for path in whole.folder.glob("error-*.json"))
