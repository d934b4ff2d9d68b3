"""A checkpoint from anywhere: JSON and safetensors of sizes that fit together, or a line that names the file."""

import json
import shutil
import struct
from itertools import count

import pytest
import torch

from envs.errors import UserError
from policies.backends import template
from policies.backends.checkpoint import files
from policies.backends.loading import load_backend, load_template
from policies.backends.requirements import config_of
from policies.backends.settings import ASKED, ModelSettings

HUGE = 10**9


@pytest.fixture
def checkpoint(nano_checkpoint, tmp_path):
    """A copy of the embedded policy's folder, to be spoilt."""
    return shutil.copytree(nano_checkpoint, tmp_path / "policy")


def refusal(folder, settings=None):
    with pytest.raises(UserError) as error:
        load_backend(folder, settings)
    message = str(error.value)
    assert f"checkpoint {str(folder)!r}" in message
    assert "\n" not in message
    assert len(message) < 1000
    return message


def change(path, **values):
    """Sets keys of a JSON file; `a__b` is b within a."""
    whole = json.loads(path.read_text())
    for key, value in values.items():
        *sections, last = key.split("__")
        at = whole
        for section in sections:
            at = at[section]
        at[last] = value
    path.write_text(json.dumps(whole))


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"[]", b"null", b'{"a": "\xfc"}', b"[" * 100_000, b"", b"<html>", b'{"a": 1'])
def test_json_that_is_no_object_is_named(checkpoint, name, content):
    (checkpoint / name).write_bytes(content)
    message = refusal(checkpoint)
    assert any(f"{name} {wrong}" in message for wrong in ("holds", "is not JSON", "is not UTF-8"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"text_config__hidden_size": HUGE}, r"config.json asks for [\d,]+ parameters; valid: those of its weights"),
        ({"text_config__vocab_size": 100 * HUGE}, "config.json asks for"),
        ({"vision_config__image_size": 10**7}, "config.json asks for"),
        ({"text_config__num_hidden_layers": HUGE}, "num_hidden_layers = 1000000000; valid: at most 2,000"),
        ({"vision_config__num_hidden_layers": 10**300}, r"num_hidden_layers = 1e\+300"),
        ({"text_config__hidden_size": 256}, r"tensors are of another shape: .* is \(\d+, 128\), by config.json"),
        ({"text_config__hidden_size": -1}, r"The hidden size \(-1\)"),
        ({"text_config__hidden_size": "x"}, "expected int, got str"),
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "x.Y"}},
            "'mine', is Python code .*trust_remote_code",
        ),
        ({"model_type": []}, "does not load|takes no images"),
        ({"text_config": 3}, "does not load"),
    ],
    ids=map(str, count()),
)
def test_a_config_that_its_weights_do_not_fit_is_refused_before_it_is_allocated(checkpoint, changes, told):
    change(checkpoint / "config.json", **changes)
    with pytest.raises(UserError, match=told):
        load_backend(checkpoint)


def test_code_in_a_config_of_a_known_model_is_not_run(checkpoint):
    (checkpoint / "x.py").write_text("raise SystemExit('run')")
    change(checkpoint / "config.json", auto_map={"AutoConfig": "x.Y", "AutoModelForImageTextToText": "x.Z"})
    assert type(load_backend(checkpoint).model).__name__ == "Idefics3ForConditionalGeneration"


def test_the_needs_of_a_model_run_none_of_its_code(checkpoint):
    """Nor is a person asked whether to run it."""
    change(checkpoint / "config.json", model_type="mine", auto_map={"AutoConfig": "x.Y"})
    with pytest.raises(UserError, match="no config of"):
        config_of(str(checkpoint))


# weights ---------------------------------------------------------------------------------------------------------
def test_pickled_weights_are_refused(checkpoint):
    torch.save({"a": torch.zeros(2)}, checkpoint / "pytorch_model.bin")
    load_backend(checkpoint)  # the safetensors beside it
    (checkpoint / "model.safetensors").unlink()
    assert "its weights are pickled (pytorch_model.bin), and such a file can run code" in refusal(checkpoint)


def write_header(path, length=None, edit=None):
    """Writes a safetensors header anew. length: that it gives. edit: of its entries."""
    whole = path.read_bytes()
    (n,) = struct.unpack("<Q", whole[:8])
    entries = json.loads(whole[8 : 8 + n])
    if edit:
        edit([entry for name, entry in entries.items() if name != "__metadata__"])
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + whole[8 + n :])


def test_who_may_read_the_config_may_read_the_weights(checkpoint):
    assert (checkpoint / "model.safetensors").stat().st_mode == (checkpoint / "config.json").stat().st_mode


def test_weights_that_cannot_be_read_are_no_damage(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors cannot be read: Too many levels of symbolic links; valid"):
        files.header(tmp_path / "model.safetensors")


@pytest.mark.parametrize("length", [2**60, 2**64 - 1, 10**8, 0, 5])
def test_a_header_of_another_length_is_named(checkpoint, length):
    write_header(checkpoint / "model.safetensors", length)
    assert "model.safetensors is damaged: " in refusal(checkpoint)


@pytest.mark.parametrize(
    "edit",
    [
        lambda entries: entries[1].update(data_offsets=entries[0]["data_offsets"]),
        lambda entries: entries[0].update(data_offsets=[0, 2**60]),
        lambda entries: entries[0].update(shape=[2**60, 2**60]),
        lambda entries: entries[0].update(dtype="F7"),
    ],
    ids=map(str, count()),
)
def test_tensors_that_overlap_or_lie_beyond_the_file_are_named(checkpoint, edit):
    write_header(checkpoint / "model.safetensors", edit=edit)
    assert "model.safetensors is damaged: " in refusal(checkpoint)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ({"weight_map": {"a": "../x.safetensors"}}, "names '../x.safetensors'; valid: a file beside it"),
        ({"weight_map": {"a": "/etc/x.safetensors"}}, "names '/etc/x.safetensors'"),
        (
            {"weight_map": {"a": "pytorch_model.bin"}},
            "names 'pytorch_model.bin'; valid: a file beside it",
        ),
        ({"weight_map": {"a": 3}}, "names 3"),
        (
            {"weight_map": {"a": "x.safetensors"}},
            "x.safetensors, which model.safetensors.index.json names",
        ),
        ({"weight_map": []}, "weight_map = []"),
        ({}, "weight_map = None"),
    ],
    ids=map(str, count()),
)
def test_an_index_names_files_beside_it(checkpoint, index, told):
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(b"x")
    (checkpoint / files.INDEX).write_text(json.dumps(index))
    assert told in refusal(checkpoint)


def test_the_links_of_a_hubs_cache_are_followed(checkpoint, tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for i, path in enumerate(sorted(checkpoint.iterdir())):
        path.rename(blobs / str(i))
        path.symlink_to(blobs / str(i))
    load_backend(checkpoint)


# adapters --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"r": HUGE}, r"has ranks \[1000000000\]; valid: 1 to"),
        ({"rank_pattern": {"x": HUGE}}, "has ranks"),
        ({"r": "x"}, r"has ranks \['x'\]"),
        ({"modules_to_save": 3}, "modules_to_save = 3"),
        ({"layer_replication": [[0, HUGE]]}, "layer_replication"),
    ],
    ids=map(str, count()),
)
def test_adapters_that_their_weights_do_not_fit_are_refused(checkpoint, tmp_path, changes, told):
    from policies.backends.loading import load_trainable
    from policies.backends.settings import Lora

    adapters = tmp_path / "adapters"
    load_trainable(checkpoint, ModelSettings(lora=Lora(r=2))).save(adapters)
    change(adapters / "adapter_config.json", **changes)
    with pytest.raises(UserError, match=told):
        load_backend(adapters)
    (adapters / "adapter_model.safetensors").rename(adapters / "adapter_model.bin")
    assert "its weights are pickled (adapter_model.bin)" in refusal(adapters)


# what a checkpoint says of prompts and frames --------------------------------------------------------------------
@pytest.mark.parametrize("kept", [{"image_size": HUGE}, {"dialect": 3}, {"examples": -1}, {"more": 1}])
def test_a_damaged_record_of_how_it_was_asked_is_refused(checkpoint, kept):
    whole = {"dialect": "chat", "examples": 3, "image_size": 64}
    (checkpoint / ASKED).write_text(json.dumps(whole | kept))
    assert next(iter(kept)) in refusal(checkpoint)


def test_a_template_that_asks_for_too_much_is_refused(checkpoint):
    (checkpoint / "chat_template.jinja").write_text("{% for i in range(10 ** 9) %}x{% endfor %}")
    with pytest.raises(UserError, match="chat template fails: OverflowError: Range too big"):
        load_template(checkpoint, ModelSettings())


LOOP = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3


@pytest.mark.parametrize("text", [LOOP, "{% set a = 'x' * 10 ** 11 %}{{ a }}"])
def test_a_template_that_does_not_end_is_refused(checkpoint, text, monkeypatch):
    monkeypatch.setattr(template, "RENDER_S", 0.5)
    (checkpoint / "chat_template.jinja").write_text(text)
    with pytest.raises(UserError, match=r"does not render a question within 0\.5 s and 1 GB"):
        load_template(checkpoint, ModelSettings())


def test_a_processor_that_makes_huge_pictures_is_refused(checkpoint):
    change(checkpoint / "processor_config.json", image_processor__size={"longest_edge": HUGE})
    assert "processor_config.json has longest_edge = 1,000,000,000" in refusal(checkpoint)
