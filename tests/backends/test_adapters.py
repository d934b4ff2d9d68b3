"""LoRA adapters: where they are, that a folder of them is all a policy needs beside its base, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file, save_file

from envs.errors import UserError
from policies.backend import Request
from policies.backends.adapters import folder, lora
from policies.backends.adapters.weights import weights_sha256
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_backend, load_trainable
from policies.backends.settings import Lora, ModelSettings
from policies.prompt import user

FRAMES = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
SETTINGS = ModelSettings(lora=Lora(r=4, alpha=8))


def logits(backend):
    """Of the first token of an answer, by a plain forward pass."""
    text = backend.template.prompt(user("reach the red cube"))
    inputs = backend.processor(text=[text], images=[[Image.fromarray(FRAMES[0])]], return_tensors="pt")
    with torch.inference_mode():
        return backend.model.eval()(**inputs).logits[0, -1]


def moved(backend, std=0.05, seed=0):
    """The backend, with adapters that change what it says, as training makes them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (p for p in backend.model.parameters() if p.requires_grad):
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))
    return backend


@pytest.fixture
def adapters(checkpoint, tmp_path):
    """A folder of adapters over one of the checkpoints."""
    moved(load_trainable(checkpoint, SETTINGS)).save(tmp_path / "adapters")
    return tmp_path / "adapters"


def message(path, settings=SETTINGS):
    with pytest.raises(UserError) as error:
        load_backend(path, settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_new_adapters_change_nothing_and_the_seed_decides_them(checkpoint):
    plain, *adapted = load_backend(checkpoint), *(load_trainable(checkpoint, SETTINGS, seed) for seed in (0, 0, 1))
    assert all(torch.equal(logits(each), logits(plain)) for each in adapted)
    one, again, other = (
        torch.cat([p.flatten() for p in each.model.parameters() if p.requires_grad]) for each in adapted
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("targets", ["decoder", "all"])
def test_adapters_are_on_every_linear_layer_that_is_named(checkpoint, targets):
    model = load_trainable(checkpoint, ModelSettings(lora=Lora(targets=targets))).model
    on = set(model.base_model.targeted_module_names)
    base = load_backend(checkpoint).model
    linear = {name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)}
    vision = {name for name in linear if "vision" in name or "connector" in name or "projector" in name}
    assert on == (linear - {"lm_head"} if targets == "all" else linear - vision - {"lm_head"})
    assert vision
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in trained)


def test_a_folder_of_adapters_is_a_policy(adapters, checkpoint):
    """It acts as what was saved, batched and alone; it holds its processor, and nothing of the base."""
    expected = logits(moved(load_trainable(checkpoint, SETTINGS)))
    backend = load_backend(adapters)
    torch.testing.assert_close(logits(backend), expected, rtol=0, atol=0)
    assert (logits(load_backend(checkpoint)) - expected).abs().max() > 0.01
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "processor_config.json"} <= {
        path.name for path in adapters.iterdir()
    }
    assert not {"config.json", "model.safetensors", "README.md"} & {path.name for path in adapters.iterdir()}
    assert all(".lora_" in name for name in load_file(adapters / "adapter_model.safetensors"))
    requests = [Request(FRAMES, user(text)) for text in ("reach the red cube", "push the blue ball. gripper 3 4")]
    together = backend.generate(requests, "move [+-][0-9] [+-][0-9]", 1.0, [5, 6])
    alone = [
        backend.generate([r], "move [+-][0-9] [+-][0-9]", 1.0, [s])[0] for r, s in zip(requests, (5, 6), strict=True)
    ]
    assert together == alone


def test_transformers_alone_loads_adapters_over_the_base_that_they_name(adapters):
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(adapters, dtype=torch.float32)
    backend = load_backend(adapters)
    expected = logits(backend)
    backend.model = model
    torch.testing.assert_close(logits(backend), expected, rtol=0, atol=1e-5)


def test_adapters_go_on_over_the_same_base(adapters, checkpoint, tmp_path):
    """Round after round: the second folder names the base of the first, and its adapters begin as the first's."""
    backend = load_trainable(adapters, SETTINGS)
    expected = logits(load_backend(adapters))
    assert torch.equal(logits(backend), expected)
    moved(backend, seed=1).save(tmp_path / "second")
    record = folder.read_base(tmp_path / "second")
    assert record == folder.read_base(adapters)
    assert record["base"] == str(checkpoint.resolve())
    assert record["weights_sha256"] == weights_sha256(checkpoint)
    assert record["lora"] == {"r": 4, "alpha": 8, "dropout": 0.0, "targets": "decoder", "modules_to_save": []}
    assert not torch.equal(logits(load_backend(tmp_path / "second")), expected)


def test_a_part_can_be_trained_whole_beside_the_adapters(llava_checkpoint, tmp_path):
    settings = ModelSettings(lora=Lora(r=4, alpha=8, modules_to_save=("multi_modal_projector",)))
    backend = load_trainable(llava_checkpoint, settings)
    trained = {name for name, p in backend.model.named_parameters() if p.requires_grad}
    assert {name for name in trained if "projector" in name} == {name for name in trained if ".lora_" not in name}
    assert len(trained - {name for name in trained if ".lora_" in name}) == 4
    before = logits(backend)
    moved(backend).save(tmp_path / "adapters")
    again = load_backend(tmp_path / "adapters", settings)
    torch.testing.assert_close(logits(again), logits(backend), rtol=0, atol=0)
    assert not torch.equal(logits(again), before)
    merged = lora.merged(again.model)
    again.model = merged
    torch.testing.assert_close(logits(again), logits(backend), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match=r"modules_to_save = 'projector' is no module; valid: .*multi_modal_projector"):
        load_trainable(llava_checkpoint, ModelSettings(lora=Lora(modules_to_save=("projector",))))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"r": 8, "alpha": 8}, "model.lora.r = 8, and its adapters have 4; valid: 4"),
        ({"r": 4, "alpha": 16}, "model.lora.alpha = 16, and its adapters have 8"),
        ({"r": 4, "alpha": 8, "targets": "all"}, "model.lora.targets = 'all'"),
    ],
)
def test_other_adapters_than_those_of_the_checkpoint_are_refused(adapters, asked, said):
    assert said in message(adapters, ModelSettings(lora=Lora(**asked)))


def test_another_dropout_is_taken(adapters):
    model = load_trainable(adapters, ModelSettings(lora=Lora(r=4, alpha=8, dropout=0.5))).model
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.p} == {0.5}


def test_a_base_that_is_gone_or_was_changed_is_one_line(nano_checkpoint, tmp_path):
    base, made = tmp_path / "base", tmp_path / "adapters"
    shutil.copytree(nano_checkpoint, base)
    moved(load_trainable(base, SETTINGS)).save(made)
    expected = logits(load_backend(made))
    base.rename(tmp_path / "elsewhere")
    said = message(made)
    assert f"checkpoint '{made}'" in said
    assert f"the base of its adapters is not here: no checkpoint in '{base}'" in said
    assert "model.base" in said
    moved_there = ModelSettings(base=str(tmp_path / "elsewhere"))
    assert torch.equal(logits(load_backend(made, moved_there)), expected)
    weights = load_file(tmp_path / "elsewhere" / "model.safetensors")
    next(iter(weights.values()))[0] += 1
    shutil.copytree(nano_checkpoint, base)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    assert f"the base '{base}' has other weights (SHA-256 " in message(made)


def test_adapters_of_others_are_taken_without_a_hash(adapters, caplog):
    (adapters / folder.BASE).unlink()
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        (adapters / name).unlink(missing_ok=True)
    with caplog.at_level("WARNING", "handeye"):
        load_backend(adapters)
    assert "no hash of the base is recorded" in caplog.text


def test_damaged_adapters_are_one_line(adapters):
    weights = load_file(adapters / "adapter_model.safetensors")
    name = next(iter(weights))
    save_file({key: value for key, value in weights.items() if key != name}, adapters / "adapter_model.safetensors")
    assert f"1 tensors of the adapters are missing: {name}" in message(adapters)
    save_file(weights | {name: torch.full_like(weights[name], torch.nan)}, adapters / "adapter_model.safetensors")
    assert "1 tensors of the adapters are not finite" in message(adapters)
    (adapters / "adapter_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "adapter_model.safetensors is damaged" in message(adapters)
    config = json.loads((adapters / "adapter_config.json").read_text())
    (adapters / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    assert "adapters of the kind" in message(adapters) or "is damaged" in message(adapters)


def test_a_model_from_memory_gets_no_adapters(words):
    from policies.backends import nano

    model, _ = nano.build(words, seed=0)
    with pytest.raises(UserError, match="adapters need a base in a folder"):
        lora.add(model, Lora())


def test_a_model_of_a_hub_is_recorded_by_its_name_there(tmp_path):
    snapshot = tmp_path / "hub" / "models--owner--model-2B" / "snapshots" / "0123abc"
    assert folder.base_name(snapshot) == "owner/model-2B"
    assert folder.base_name(tmp_path) == str(tmp_path.resolve())


def test_quantisation_that_cannot_be_trained_or_is_not_installed_is_one_line(nano_checkpoint, monkeypatch):
    monkeypatch.setattr("policies.backends.adapters.quantised.find_spec", lambda name: None)
    for kind in ("int8", "nf4"):
        assert f"model.quantise = '{kind}' needs bitsandbytes" in message(nano_checkpoint, ModelSettings(quantise=kind))


def test_what_is_trained_whole_is_not_quantised_without_the_config_of_the_training_either(
    llava_checkpoint, tmp_path, monkeypatch
):
    settings = ModelSettings(lora=Lora(r=4, alpha=8, modules_to_save=("multi_modal_projector",)))
    load_trainable(llava_checkpoint, settings).save(tmp_path / "adapters")

    def asked(kind, dtype, whole):
        raise UserError(f"{kind} but for {whole}")

    monkeypatch.setattr("policies.backends.loading.quantisation", asked)
    for each in (ModelSettings(quantise="nf4"), replace(settings, quantise="nf4")):
        assert "nf4 but for ('multi_modal_projector',)" in message(tmp_path / "adapters", each)


def test_merging_adds_the_adapters_to_the_weights(adapters, checkpoint, tmp_path):
    backend = load_backend(adapters)
    expected = logits(backend)
    assert isinstance(backend.model, PeftModel)
    backend.model = lora.merged(backend.model)
    HFBackend(backend.model, backend.processor).save(tmp_path / "merged")
    torch.testing.assert_close(logits(load_backend(tmp_path / "merged")), expected, rtol=0, atol=1e-4)
    names = (set(load_file(path / "model.safetensors")) for path in (tmp_path / "merged", checkpoint))
    assert next(names) == next(names)
