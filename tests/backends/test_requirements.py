"""Memory worked out from a config alone, against what the real model has."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import DynamicCache, LlavaConfig, LlavaForConditionalGeneration

from envs.errors import UserError
from policies.backends.requirements import (
    TRAINED_BYTES,
    Work,
    built,
    config_of,
    known,
    needs,
    shape_of,
    speeds,
)

TOKENS = 40


@pytest.fixture
def llava():
    """A tiny LLaVA with an untied head, grouped heads, and a vision tower of another width."""
    torch.manual_seed(0)
    vision = {"model_type": "dinov2", "image_size": 56, "patch_size": 14, "hidden_size": 24, "num_attention_heads": 2}
    text = {"model_type": "llama", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 160}
    text |= {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlavaConfig(
        vision_config=vision | {"num_hidden_layers": 2, "mlp_ratio": 4},
        text_config=text,
        image_token_index=95,
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration(config).eval()


def adapted(model, r):
    """With LoRA on every Linear layer of the decoder."""
    prefix = next(name for name, module in model.named_modules() if module is model.get_decoder())
    targets = [n for n, m in model.named_modules() if n.startswith(f"{prefix}.") and isinstance(m, torch.nn.Linear)]
    return get_peft_model(model, LoraConfig(r=r, target_modules=targets))


def check_counts(model):
    shape, work = shape_of(model.config, TOKENS), Work(rows=3, batch=3, tokens=TOKENS, value_bytes=4, r=4)
    needed = needs(shape, work)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert needed["act"]["weights"] == sum(p.numel() * p.element_size() for p in model.parameters())
    cache = DynamicCache(config=model.config.get_text_config())
    with torch.inference_mode():
        model(input_ids=torch.ones(3, TOKENS, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    assert needed["act"]["KV cache"] == held
    trained = [p for p in adapted(model, 4).parameters() if p.requires_grad]
    assert needed["LoRA"]["adapters"] == sum(p.numel() for p in trained) * TRAINED_BYTES


def test_counts_of_a_llava(llava):
    check_counts(llava)


def test_counts_of_the_embedded_policy(fresh_backend):
    check_counts(fresh_backend.model)


def test_activations_of_a_training_step(llava):
    """Kept for the backward pass, as autograd reports it: within a quarter."""
    model, batch, r = llava, 2, 8
    needed = needs(shape_of(model.config, TOKENS), Work(batch=batch, tokens=TOKENS, value_bytes=4, r=r))["LoRA"]
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    model, kept = adapted(model, r).train(), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.randint(0, 90, (batch, TOKENS))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(input_ids=ids, labels=ids).loss
    weights |= {p.untyped_storage().data_ptr() for p in model.parameters()}
    measured = sum(size for pointer, size in kept.items() if pointer not in weights)
    assert loss.isfinite()
    assert needed["activations"] == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize("name", known())
def test_known_shapes_have_as_many_parameters_as_the_hub_shows(name):
    shape = shape_of(built(known()[name]), 8)
    assert round(shape.parameters / 1e6) == known()[name].millions
    assert shape.patches


def test_a_sliding_window_bounds_the_cache():
    """Of Gemma 3's 34 layers, 5 see everything."""
    config = built(known()["google/gemma-3-4b-it"])
    short, long = shape_of(config, 1000), shape_of(config, 3000)
    per_token = 2 * 4 * 256
    assert short.cache == 34 * 1000 * per_token
    assert long.cache == (5 * 3000 + 29 * 1023) * per_token  # the newest token is never in the window's past


def test_memory_agrees_with_what_was_measured():
    """On one H200 (GiB): 32 rows of 190 tokens of LoRA training, 256 rows acting."""
    for name, trained, acted in (
        ("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 15.8, 6.4),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 55.7, 11.7),
    ):
        needed = needs(shape_of(built(known()[name]), 190), Work(rows=256, batch=32, tokens=190, image_tokens=64))
        assert sum(needed["LoRA"].values()) / 2**30 == pytest.approx(trained, rel=0.03)
        assert sum(needed["act"].values()) / 2**30 == pytest.approx(acted, rel=0.15)


def test_speeds_pass_through_what_was_measured_and_fall_with_size():
    models = (
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "Qwen/Qwen2.5-VL-7B-Instruct",
    )
    small, medium, large = (shape_of(built(known()[name]), 8) for name in models)
    assert speeds(small, 190) == pytest.approx((135, 138))
    assert speeds(medium, 190) == pytest.approx((70, 49))
    assert speeds(medium, 380)[1] == pytest.approx(49 / 2)
    assert speeds(large, 190)[0] < 70 / 2


def test_what_is_no_vision_language_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="type 'llama' takes no images with text"):
        shape_of(config_of(str(tmp_path)), 8)
    with pytest.raises(UserError, match=r"no config of '/nowhere'; valid: .*google/gemma-3-4b-it"):
        config_of("/nowhere")
