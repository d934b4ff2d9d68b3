"""Training adapters: the base stays as it is, DPO is held against the SFT policy, and the base is in memory once."""

import gc

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, TrainerCallback

from agent.optimise.dpo import train_dpo
from agent.optimise.sft import train_sft, trainer_arguments
from agent.organise.outcome import Outcome
from agent.organise.rows import Example, Pair
from policies import prompt
from policies.backends.loading import load_backend, load_trainable
from policies.backends.settings import Lora, ModelSettings

SETTINGS = ModelSettings(lora=Lora(r=4, alpha=8))
BETA = 0.5
SFT = {"per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1, "max_steps": 3}
DPO = SFT | {"learning_rate": 1e-3, "beta": BETA}
rng = np.random.default_rng(0)
EXAMPLES = [
    Example(rng.integers(0, 256, (frames, 64, 64, 3), np.uint8), prompt.user(words, frames), answer)
    for frames, words, answer in (
        (1, "push the red cube", "red cube 1 2; move +1 -2"),
        (1, "reach the blue cube. gripper 9 8", "move -1 -2"),
        (2, "reach the green pad", "green pad 19 2; move +0 -2"),
        (1, "reach the red ball", "move +1 +1"),
    )
]
PAIRS = [Pair(e.frames, e.prompt, e.answer, "move +3 +3", Outcome(1.0, 0.5)) for e in EXAMPLES]


class Logs(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.steps.append({name: float(value) for name, value in logs.items()})


@pytest.fixture
def sft(checkpoint, tmp_path):
    """A folder of adapters after a few steps of SFT, and the losses on the way."""
    backend, logs = load_trainable(checkpoint, SETTINGS), Logs()
    train_sft(backend.model, backend.processor, EXAMPLES, tmp_path / "out", SFT | {"max_steps": 6}, [logs])
    backend.save(tmp_path / "sft")
    return tmp_path / "sft", [step["loss"] for step in logs.steps]


def chosen_logps(backend, tmp_path):
    """Summed log probability of the chosen answers of PAIRS, by DPO's own first step with an unweighted SFT loss."""
    logs = Logs()
    settings = DPO | {"max_steps": 1, "learning_rate": 0.0}
    train_dpo(backend.model, None, backend.processor, PAIRS, tmp_path / "out", settings, [logs])
    return logs.steps[0]["logps/chosen"]


def test_only_adapters_are_trained_and_the_loss_falls(checkpoint, sft):
    folder, losses = sft
    assert losses[-1] < 0.8 * losses[0]
    base, trained = load_backend(checkpoint).model, load_backend(folder).model
    trained_base = {name.replace(".base_layer", ""): p for name, p in trained.get_base_model().named_parameters()}
    for name, parameter in base.named_parameters():
        assert torch.equal(trained_base[name], parameter), name


def test_preference_is_held_against_the_sft_policy_not_its_base(sft, checkpoint, tmp_path):
    """The first rewards are 0 only where the reference has the SFT policy's own probabilities.

    The base's are far from these: with the base as reference, the first reward would be `BETA * apart`.
    """
    folder, _ = sft
    of_sft = chosen_logps(load_trainable(folder, SETTINGS), tmp_path)
    of_base = chosen_logps(load_trainable(checkpoint, SETTINGS), tmp_path)
    assert abs(of_sft - of_base) > 1

    backend, logs = load_trainable(folder, SETTINGS), Logs()
    before = {name: p.clone() for name, p in backend.model.named_parameters() if ".default." in name}
    train_dpo(backend.model, None, backend.processor, PAIRS, tmp_path / "out", DPO, [logs])
    first, *_, last = logs.steps
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins"):
        assert first[name] == pytest.approx(0, abs=1e-4), name
    assert first["logps/chosen"] == pytest.approx(of_sft, abs=1e-3)
    assert last["rewards/margins"] > 0
    for name, parameter in backend.model.named_parameters():
        if ".ref." in name:
            assert torch.equal(parameter, before[name.replace(".ref.", ".default.")]), name
            assert not parameter.requires_grad

    backend.save(tmp_path / "dpo")
    saved = load_backend(tmp_path / "dpo").model
    assert list(saved.peft_config) == ["default"]
    for name, parameter in saved.named_parameters():
        if ".default." in name:
            assert torch.equal(parameter, backend.model.get_parameter(name)), name


def test_dpo_of_adapters_holds_one_model_in_memory(sft, tmp_path):
    """Their base is many times as large as they are: no second one is made for the reference."""
    folder, _ = sft
    gc.collect()
    others = {id(m) for m in gc.get_objects() if isinstance(m, PreTrainedModel)}
    backend, counted = load_trainable(folder, SETTINGS), []

    class Count(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            models = [m for m in gc.get_objects() if isinstance(m, PreTrainedModel) and id(m) not in others]
            counted.append(sum(type(m).__name__.endswith("ForConditionalGeneration") for m in models))

    train_dpo(backend.model, None, backend.processor, PAIRS, tmp_path / "out", DPO | {"max_steps": 1}, [Count()])
    assert counted == [1]


def test_the_same_seed_trains_the_same_adapters(checkpoint, tmp_path):
    def trained(seed):
        backend = load_trainable(checkpoint, SETTINGS, seed)
        train_sft(backend.model, backend.processor, EXAMPLES, tmp_path, SFT | {"max_steps": 1, "seed": seed})
        return torch.cat([p.flatten() for p in backend.model.parameters() if p.requires_grad])

    once, again, other = trained(0), trained(0), trained(1)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


class Placed(torch.nn.Linear):
    """Weights of a dtype on a device that this machine need not have."""

    def __init__(self, device, dtype):
        super().__init__(1, 1)
        self.device, self.dtype = torch.device(device), dtype


@pytest.mark.parametrize(
    ("device", "dtype", "settings", "expected"),
    [
        ("cpu", torch.float32, {}, {"bf16": False, "dataloader_pin_memory": False, "use_cpu": True}),
        ("cpu", torch.bfloat16, {}, {"bf16": False, "use_cpu": True}),
        ("cuda", torch.bfloat16, {}, {"bf16": True, "dataloader_pin_memory": True, "use_cpu": False}),
        ("cuda", torch.float32, {}, {"bf16": False}),
        ("cuda", torch.bfloat16, {"bf16": False}, {"bf16": False}),
        ("cuda", torch.bfloat16, {"fp16": True}, {"bf16": False, "fp16": True}),
        ("cpu", torch.float32, {"gradient_checkpointing": True}, {"activation_checkpointing": True}),
        ("cpu", torch.float32, {}, {"activation_checkpointing": False}),
    ],
)
def test_mixed_precision_follows_the_device_and_settings_go_first(device, dtype, settings, expected, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    arguments = trainer_arguments(Placed(device, dtype), settings)
    assert expected.items() <= arguments.items()
    assert "gradient_checkpointing" not in arguments


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
def test_checkpointing_reaches_the_model_and_trains_adapters_all_the_same(llava_checkpoint, tmp_path, name):
    """By trl's old name for it and by transformers' new one; recomputed activations give the same adapters."""

    def trained(settings):
        backend, on = load_trainable(llava_checkpoint, SETTINGS), []

        class Seen(TrainerCallback):
            def on_step_end(self, args, state, control, model=None, **kwargs):
                on.append(model.get_base_model().is_gradient_checkpointing)

        train_sft(backend.model, backend.processor, EXAMPLES, tmp_path, SFT | {"max_steps": 1} | settings, [Seen()])
        return on, torch.cat([p.flatten() for p in backend.model.parameters() if p.requires_grad])

    (off, plain), (on, recomputed) = trained({}), trained({name: True})
    assert (off, on) == ([False], [True])
    torch.testing.assert_close(recomputed, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_adapters_are_trained_over_a_quantised_base(llava_checkpoint, tmp_path, kind):
    pytest.importorskip("bitsandbytes", reason="the extra `quantise` is not installed")
    settings = ModelSettings(quantise=kind, lora=Lora(r=4, alpha=8))
    backend, logs = load_trainable(llava_checkpoint, settings), Logs()
    assert {torch.int8 if kind == "int8" else torch.uint8} < {p.dtype for p in backend.model.parameters()}
    train_sft(backend.model, backend.processor, EXAMPLES, tmp_path / "out", SFT | {"max_steps": 6}, [logs])
    assert logs.steps[-1]["loss"] < 0.9 * logs.steps[0]["loss"]
    backend.save(tmp_path / "sft")
    backend, logs = load_trainable(tmp_path / "sft", settings), Logs()
    train_dpo(backend.model, None, backend.processor, PAIRS, tmp_path / "out", DPO | {"max_steps": 1}, [logs])
    assert abs(logs.steps[0]["rewards/chosen"]) < 0.1
