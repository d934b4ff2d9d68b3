"""The frame size that each family's processor wants, and what a frame costs; with real processors and their defaults.

Image processors that need torchvision, and what else is not installed, are skipped.
"""

import importlib
from types import SimpleNamespace

import pytest
from transformers import AutoProcessor, PreTrainedTokenizerFast
from transformers.processing_utils import ProcessorMixin

from envs.errors import UserError
from policies.backends import nano
from policies.backends.image_size import LARGEST, frame_size, image_tokens, resolve_image_size
from policies.base import NAMED

TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ image }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def image_processor(family, name, **settings):
    """The PIL image processor of a family, with transformers' defaults but for the settings."""
    module = importlib.import_module(f"transformers.models.{family}.image_processing_pil_{family}")
    return getattr(module, f"{name}ImageProcessorPil")(**settings)


def only(images, **more):
    return SimpleNamespace(image_processor=images, **more)


FIXED = {
    "siglip": ("siglip", "Siglip", {"size": {"height": 384, "width": 384}}, 384),
    "clip": ("clip", "CLIP", {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}, 336),
    "cropped": ("bit", "Bit", {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, 256),
    "gemma3": ("gemma3", "Gemma3", {}, 224),
    "gemma3 as released": ("gemma3", "Gemma3", {"size": {"height": 896, "width": 896}}, LARGEST),
    "gemma4": ("gemma4", "Gemma4", {}, LARGEST),  # 16 x 16 tokens of 48 px
    "gemma4 of few tokens": ("gemma4", "Gemma4", {"max_soft_tokens": 70}, 384),
    "internvl": ("got_ocr2", "GotOcr2", {"size": {"height": 448, "width": 448}}, 448),
    "llava onevision": ("llava_onevision", "LlavaOnevision", {}, 384),
    "llava next": ("llava_next", "LlavaNext", {"size": {"shortest_edge": 336}}, 336),
    "idefics3": ("idefics3", "Idefics3", {}, 364),
    "smolvlm": ("smolvlm", "SmolVLM", {"max_image_size": {"longest_edge": 512}}, 512),
    "smolvlm whole": (
        "smolvlm",
        "SmolVLM",
        {"max_image_size": {"longest_edge": 512}, "do_image_splitting": False},
        512,
    ),
    "qwen2.5-vl": ("qwen2_vl", "Qwen2VL", {}, 224),
    "qwen3-vl": (
        "qwen2_vl",
        "Qwen2VL",
        {"patch_size": 16, "size": {"shortest_edge": 2**16, "longest_edge": 2**24}},
        256,
    ),
    "qwen of many pixels": ("qwen2_vl", "Qwen2VL", {"min_pixels": 300**2}, 308),
    "qwen of few pixels": ("qwen2_vl", "Qwen2VL", {"max_pixels": 120**2}, 112),
    "pixtral": ("pixtral", "Pixtral", {}, 224),
    "pixtral of few pixels": ("pixtral", "Pixtral", {"size": {"longest_edge": 100}}, 96),
}


@pytest.mark.parametrize(("family", "name", "settings", "wanted"), FIXED.values(), ids=FIXED)
def test_the_size_that_a_processor_wants(family, name, settings, wanted):
    assert frame_size(only(image_processor(family, name, **settings))) == wanted


def test_pixtral_merges_patches_in_its_processor():
    images = image_processor("pixtral", "Pixtral", patch_size={"height": 14, "width": 14})
    assert frame_size(only(images, spatial_merge_size=2)) == 224


def test_lfm2_vl_bounds_the_tokens():
    pytest.importorskip("torchvision", reason="LFM2-VL's image processor needs torchvision")
    from transformers import Lfm2VlImageProcessor

    assert frame_size(only(Lfm2VlImageProcessor())) == 256
    assert frame_size(only(Lfm2VlImageProcessor(max_image_tokens=16, min_image_tokens=4))) == 128


@pytest.mark.parametrize("processor", [only(SimpleNamespace(size=None)), SimpleNamespace(), only(None)])
def test_a_processor_that_names_no_size_is_named(processor):
    with pytest.raises(UserError, match=r"image_size 'auto': \w+ does not say which size it wants; valid: a number"):
        resolve_image_size("auto", processor)
    assert resolve_image_size(448, processor) == 448


def test_the_embedded_policy_wants_what_tasks_have():
    processor = AutoProcessor.from_pretrained(NAMED["seed"], backend="pil")
    assert frame_size(processor) == nano.IMAGE_SIZE
    assert resolve_image_size("auto", processor) is None
    assert resolve_image_size(96, processor) == 96


def test_a_server_does_not_tell_and_a_number_counts():
    assert resolve_image_size("auto", None) is None
    assert resolve_image_size(224, None) == 224


def test_the_embedded_policy_scales_larger_frames_down():
    processor = AutoProcessor.from_pretrained(NAMED["seed"], backend="pil")
    assert image_tokens(processor, 64) == image_tokens(processor, 96) >= nano.IMAGE_TOKENS
    assert image_tokens(processor, 64, 2) >= 2 * nano.IMAGE_TOKENS


# tokens, by whole processors -----------------------------------------------------------------------------------------
def tokenizer(image, **more):
    """The embedded policy's, with the special tokens of a family."""
    plain = nano.build_tokenizer(("act",))
    extra = {"image_token": image, **more}
    plain.add_special_tokens({"additional_special_tokens": list(extra.values())})
    return PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer, eos_token="</s>", bos_token="<s>", extra_special_tokens=extra
    )


@pytest.fixture
def built(monkeypatch):
    """Makes a processor of a family, without its video processor, which needs torchvision."""
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda self, name, argument: type(argument))

    def make(name, images, words, image, **settings):
        kind = getattr(importlib.import_module("transformers"), name)
        settings = {"chat_template": TEMPLATE.replace("{{ image }}", image)} | settings
        return kind(image_processor=images, tokenizer=words, **settings)

    return make


def test_qwen_costs_a_token_for_each_square_of_28_pixels(built):
    vision = {
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
        "video_token": "<|video_pad|>",
    }
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    words = tokenizer("<|image_pad|>", **vision)
    processor = built("Qwen2_5_VLProcessor", image_processor("qwen2_vl", "Qwen2VL"), words, image)
    assert image_tokens(processor, frame_size(processor)) == 64 + 2
    assert image_tokens(processor, 64) == 4 + 2  # why frames of 64 px are too small for it
    assert image_tokens(processor, 448, 2) == 2 * (256 + 2)


def test_internvl_costs_more_for_a_frame_larger_than_its_tile(built):
    words = tokenizer(
        "<image>", start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>"
    )
    words.video_token = "<video>"
    images = image_processor("got_ocr2", "GotOcr2", size={"height": 448, "width": 448})
    processor = built("InternVLProcessor", images, words, "<IMG_CONTEXT>", image_seq_length=256)
    assert image_tokens(processor, 64) == image_tokens(processor, frame_size(processor)) == 256 + 2
    assert image_tokens(processor, 900) > 4 * 256


def test_smolvlm_and_idefics_cost_more_where_they_split(built):
    costs = []
    for split in (True, False):
        images = image_processor("idefics3", "Idefics3", do_image_splitting=split)
        words = nano.build_tokenizer(("act",))
        processor = built("Idefics3Processor", images, words, "<image>", image_seq_len=169)
        costs.append(image_tokens(processor, frame_size(processor)))
    assert costs[0] > 16 * 169
    assert 169 <= costs[1] < 2 * 169
