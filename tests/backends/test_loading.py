"""What is wrong with a checkpoint is said in one line, before anything long starts."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from envs.errors import UserError
from policies import prompt
from policies.backend import Request
from policies.backends import loading, probe
from policies.backends.huggingface import HFBackend
from policies.backends.inputs import Reader, Rows
from policies.backends.loading import is_shared, load_backend, placement
from policies.backends.prefilled import HFPrefilledBatch
from policies.backends.settings import ASKED, ModelSettings
from policies.threads import one_thread


@pytest.fixture
def checkpoint(nano_checkpoint, tmp_path):
    """A copy of the embedded policy's folder, to be spoilt."""
    return shutil.copytree(nano_checkpoint, tmp_path / "policy")


def rewrite(folder, change):
    """Apply `change` to the tensors of a checkpoint, a dict by name, in place."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def refused(folder, match, settings=None):
    with pytest.raises(UserError, match=match) as caught:
        load_backend(folder, settings)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 700


LAYER = "model.text_model.layers.0.mlp.up_proj.weight"


def test_weights_that_are_no_numbers(checkpoint):
    rewrite(checkpoint, lambda tensors: tensors[LAYER].fill_(torch.nan))
    refused(checkpoint, f"1 tensors are not finite: {LAYER}")


def test_missing_tensors(checkpoint):
    rewrite(checkpoint, lambda tensors: [tensors.pop(name) for name in list(tensors) if "layers.1" in name])
    refused(checkpoint, r"\d+ tensors are missing: model\..*, \.\.\.")


def test_a_tensor_of_another_shape(checkpoint):
    rewrite(checkpoint, lambda tensors: tensors.update({LAYER: torch.zeros(3, 3)}))
    refused(checkpoint, rf"1 tensors are of another shape: {LAYER} is \(3, 3\), by config.json \(384, 128\)")


def test_cut_weights(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(checkpoint, "model.safetensors is damaged")


def test_a_pointer_in_the_place_of_weights(checkpoint):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"
    (checkpoint / "model.safetensors").write_text(pointer)
    refused(checkpoint, "model.safetensors is damaged")


def test_no_weights(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    refused(checkpoint, "it has no weights; valid: model.safetensors")


def test_a_broken_config(checkpoint):
    (checkpoint / "config.json").write_text('{"model_type": ')
    refused(checkpoint, "config.json is not JSON")


def test_a_broken_record_of_how_it_was_asked(checkpoint):
    for text, match in (("{", "is not JSON"), ('{"dialect": "chat"}', "'examples' is missing"), ("[]", r"holds \[\]")):
        (checkpoint / ASKED).write_text(text)
        refused(checkpoint, match)


def test_a_model_of_text_alone(tmp_path):
    config = LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    refused(tmp_path, "a model of type 'llama' takes no images with text")


def test_no_processor(checkpoint):
    for path in checkpoint.glob("*process*"):
        path.unlink()
    refused(checkpoint, "does not load|takes no images")


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("", "no chat template"),
        ("{% for message in %}", "chat template fails: TemplateSyntaxError"),
        ("{{ raise_exception('no images, please') }}", "chat template fails: .*no images, please"),
        ("<s>hello", "leaves out what is said"),
    ],
)
def test_a_chat_template_that_does_not_work(checkpoint, template, match):
    for path in checkpoint.glob("chat_template*"):
        path.unlink()
    config = checkpoint / "processor_config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"chat_template": template or None}))
    refused(checkpoint, match)


def test_a_device_that_is_not_there(checkpoint):
    refused(checkpoint, "model.device = 'cuda:7'; valid here: auto, cpu", ModelSettings(device="cuda:7"))


def test_a_prompt_longer_than_the_models_positions(backend):
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    with pytest.raises(UserError, match=r"a prompt has \d+ tokens, and the model at most 512"):
        backend.prefill([Request(frames, prompt.user("reach the red cube. " * 200))])


def test_an_answer_without_an_end(nano_checkpoint):
    backend = load_backend(nano_checkpoint, ModelSettings(max_new_tokens=3))
    request = Request(np.zeros((1, 64, 64, 3), np.uint8), prompt.user("reach"))
    with pytest.raises(UserError, match=r"no end after 3 tokens; valid: a larger model\.max_new_tokens"):
        backend.generate([request], r"\d{8}", 0, [0])


# the probe -------------------------------------------------------------------------------------------------------
def test_the_embedded_model_bears_all(backend):
    assert backend.shares
    assert backend.padding
    assert backend.rows == Rows(4, 32)


def test_a_model_that_is_read_otherwise_than_it_reads_is_refused(backend, monkeypatch):
    monkeypatch.setattr(Reader, "_positions", lambda self, inputs, n: torch.arange(n)[None] // 2)
    with pytest.raises(UserError, match="a prompt is not read as the model reads it"):
        probe.probe(HFBackend(backend.model, backend.processor))


def test_a_prefix_that_is_not_as_the_whole_is_not_shared(backend, monkeypatch, caplog):
    spoilt = HFBackend(backend.model, backend.processor)
    extend = HFPrefilledBatch.extend
    monkeypatch.setattr(HFPrefilledBatch, "extend", lambda self, prompts, last=False: extend(self, prompts[::-1]))
    probe.probe(spoilt)
    assert not spoilt.shares
    assert "does not bear a shared prefix" in caplog.text


def test_without_a_shared_prefix_answers_are_the_same(backend):
    whole = HFBackend(backend.model, backend.processor)
    whole.shares = False
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    requests = [Request(frames, prompt.user(words)) for words in ("reach the red cube", "push")]
    longer = [[prompt.user(f"{r.messages[0]['content'][-1]['text']}. good?")] * 2 for r in requests]
    answers, odds = [], []
    for each in (backend, whole):
        extended = each.prefill(requests).extend(longer)
        answers.append(extended.generate(r"move \+\d -\d", [1.0], [[i] for i in range(4)]))
        odds.append(extended.odds(["yes"] * 4, ["no"] * 4))
    assert answers[0] == answers[1]
    np.testing.assert_allclose(*odds, rtol=1e-4)


@pytest.mark.parametrize("block", [1, 3, None])
def test_any_number_of_rows_gives_the_same_answers(backend, block):
    other = HFBackend(backend.model, backend.processor, replace(backend.settings, block=block))
    frames = np.random.default_rng(1).integers(0, 256, (5, 1, 64, 64, 3), dtype=np.uint8)
    requests = [Request(f, prompt.user("reach the red cube")) for f in frames]
    assert other.generate(requests, r"move \+\d -\d", 1.0, range(5)) == backend.generate(
        requests, r"move \+\d -\d", 1.0, range(5)
    )


@pytest.mark.parametrize("rows", [4, 5, 9, 31])
def test_a_row_has_the_same_bits_among_any_number_of_rows(backend, rows):
    """From 4 on, which is why passes have no fewer: what a request samples depends on nothing beside it."""
    frames = np.random.default_rng(2).integers(0, 256, (32, 1, 64, 64, 3), dtype=np.uint8)
    requests = [Request(f, prompt.user("reach the red cube. gripper 3 4")) for f in frames]
    with one_thread():
        every, some, one = (backend.prefill(requests[:n]).first() for n in (32, rows, 1))
    assert torch.equal(some, every[:rows])
    assert torch.equal(one, every[:1])


def test_the_settings_decide_the_dtype(nano_checkpoint):
    model = load_backend(nano_checkpoint, ModelSettings(dtype="bfloat16")).model
    assert model.dtype == torch.bfloat16


def test_placement_says_what_answers_depend_on(nano_checkpoint):
    assert placement(nano_checkpoint, ModelSettings()) == {"device": "cpu", "dtype": "float32", "answers": "exact"}
    assert placement(nano_checkpoint, ModelSettings(dtype="bfloat16"))["answers"] == "seeded"
    assert placement(nano_checkpoint, ModelSettings(block=None))["answers"] == "seeded"


def test_a_small_model_stays_on_the_cpu_where_there_is_an_accelerator(nano_checkpoint, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert placement(nano_checkpoint, ModelSettings())["device"] == "cpu"
    assert not is_shared(nano_checkpoint, ModelSettings())
    monkeypatch.setattr(loading, "SMALL", 1)
    assert is_shared(nano_checkpoint, ModelSettings())


@pytest.mark.parametrize(
    "asked", [ModelSettings(dialect="chat", examples=1, image_size=96), ModelSettings(examples=0)], ids=str
)
def test_a_checkpoint_recalls_how_it_was_asked(nano_checkpoint, tmp_path, asked):
    load_backend(nano_checkpoint, asked).save(tmp_path)
    assert load_backend(tmp_path).settings == asked
    other = ModelSettings(dialect="terse", image_size=64)
    assert load_backend(tmp_path, other).settings == other
    assert load_backend(nano_checkpoint).settings == ModelSettings()


def test_a_longer_prompt_that_exceeds_the_models_positions(backend):
    prefilled = backend.prefill([Request(np.zeros((1, 64, 64, 3), np.uint8), prompt.user("reach the red cube"))])
    with pytest.raises(UserError, match=r"a prompt has \d+ tokens, and the model at most 512"):
        prefilled.extend([[prompt.user("reach the red cube" + ". good?" * 300)]])
