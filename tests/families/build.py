"""Tiny random models of the families that people use, with their real processors; chat templates are trl's copies.

Weights are drawn wider than transformers draws them, so that what an input changes shows in the outputs.
"""

import string
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import transformers as tf
import trl
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
SIGLIP = TOWER | {"patch_size": 14, "image_size": 56}
SLIDING = {"sliding_window": 16, "head_dim": 16}
STD = 0.15  # of the weights

Built = tuple[PreTrainedModel, ProcessorMixin]


def tokenizer(special: Sequence[str], bos: str | None, eos: str, pad: str, **named: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE that splits our words in several tokens, numbers in digits. named: tokens that a processor asks
    for, by attribute."""
    made = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([string.ascii_letters, "move to the pad, push the red cube, go left and over"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        padding_side="left",
        extra_special_tokens=named,
    )


def template(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text()


def chatml(image: str) -> str:
    """A ChatML template that puts `image` in the place of an image."""
    return (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '" + image + "' }}"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


def idefics(kind: str, split: bool = False) -> Built:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<fake_token_around_image>", "<global-img>"]
    special += ["<end_of_utterance>", "<video>", *(f"<row_{i}_col_{j}>" for i in range(1, 4) for j in range(1, 4))]
    words = tokenizer(special, "<|im_start|>", "<end_of_utterance>", "<|im_end|>")
    size = {"size": {"longest_edge": 128 if split else 64}, "max_image_size": {"longest_edge": 64}}
    vision = TOWER | {"patch_size": 8, "image_size": 64}
    language = {"model_type": "llama", "vocab_size": len(words), **TEXT}
    ids = {"image_token_id": words.convert_tokens_to_ids("<image>"), "scale_factor": 2}
    if kind == "smolvlm":
        images = tf.SmolVLMImageProcessor(do_image_splitting=split, **size)
        videos = tf.SmolVLMVideoProcessor(**size)
        processor = tf.SmolVLMProcessor(images, words, videos, image_seq_len=16, chat_template=template("smolvlm"))
        config = tf.SmolVLMConfig(vision_config=vision, text_config=language, **ids)
        return tf.SmolVLMForConditionalGeneration(config), processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    images = Idefics3ImageProcessorPil(do_image_splitting=split, **size)
    text = template("idefics3").replace("<|begin_of_text|>", "<|im_start|>")
    processor = tf.Idefics3Processor(images, words, image_seq_len=16, chat_template=text)
    config = tf.Idefics3Config(vision_config=vision, text_config=language, **ids)
    return tf.Idefics3ForConditionalGeneration(config), processor


def qwen(kind: str) -> Built:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    named = {
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
    }
    words = tokenizer([*special, *named.values()], None, "<|im_end|>", "<|endoftext|>", **named)
    ids = {f"{name}_id": words.convert_tokens_to_ids(token) for name, token in named.items()}
    del ids["vision_end_token_id"]
    ends = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    language = {"vocab_size": len(words), **TEXT, **ends}
    vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 64}
    if kind == "qwen2_5_vl":
        images = tf.Qwen2VLImageProcessor(min_pixels=28**2, max_pixels=56**2, patch_size=14)
        processor = tf.Qwen2_5_VLProcessor(images, words, tf.Qwen2VLVideoProcessor(), chat_template=template(kind))
        vision |= {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}
        text = language | {"rope_parameters": rope}
        return tf.Qwen2_5_VLForConditionalGeneration(
            tf.Qwen2_5_VLConfig(vision_config=vision, text_config=text, **ids)
        ), processor
    images = tf.Qwen2VLImageProcessor(patch_size=16, size={"shortest_edge": 32**2, "longest_edge": 64**2})
    text = template("qwen3_vl" if kind == "qwen3_vl" else "qwen3_5_nothink")
    processor = tf.Qwen3VLProcessor(images, words, tf.Qwen3VLVideoProcessor(), chat_template=text)
    rope["mrope_interleaved"] = True
    vision["num_position_embeddings"] = 64
    if kind == "qwen3_vl":
        vision["deepstack_visual_indexes"] = [0]
        text = language | {"head_dim": 16, "rope_parameters": rope}
        return tf.Qwen3VLForConditionalGeneration(
            tf.Qwen3VLConfig(vision_config=vision, text_config=text, **ids)
        ), processor
    text = language | {
        "head_dim": 16,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "layer_types": [*["linear_attention"] * 3, "full_attention"],
        "rope_parameters": rope | {"partial_rotary_factor": 1.0},
    }
    config = tf.Qwen3_5Config(vision_config=vision, text_config=text, **ids)
    return tf.Qwen3_5ForConditionalGeneration(config), processor


def internvl() -> Built:
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *named.values()]
    words = tokenizer(special, None, "<|im_end|>", "<|endoftext|>", **named)
    size = {"size": {"height": 56, "width": 56}}
    images, videos = tf.GotOcr2ImageProcessor(crop_to_patches=False, **size), tf.InternVLVideoProcessor(**size)
    text = chatml("<IMG_CONTEXT>\n")
    processor = tf.InternVLProcessor(images, words, videos, image_seq_length=4, chat_template=text)
    config = tf.InternVLConfig(
        vision_config=TOWER | {"image_size": [56, 56], "patch_size": [14, 14]},
        text_config={"model_type": "qwen2", "vocab_size": len(words), **TEXT},
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    return tf.InternVLForConditionalGeneration(config), processor


def gemma3() -> Built:
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", *named.values()]
    words = tokenizer(special, "<bos>", "<eos>", "<pad>", **named)
    images = tf.Gemma3ImageProcessor(size={"height": 56, "width": 56})
    processor = tf.Gemma3Processor(images, words, image_seq_length=4, chat_template=template("gemma3"))
    layers = ["sliding_attention"] * 3 + ["full_attention"]
    language = TEXT | SLIDING | {"vocab_size": len(words), "query_pre_attn_scalar": 16, "layer_types": layers}
    config = tf.Gemma3Config(
        vision_config=SIGLIP | {"vision_use_head": False},
        text_config=language,
        mm_tokens_per_image=4,
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
    )
    model = tf.Gemma3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = [words.eos_token_id, words.convert_tokens_to_ids("<end_of_turn>")]
    return model, processor


def gemma4() -> Built:
    named = {
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
    }
    special = ["<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", "<|video|>", "<|channel>", "<channel|>", "<|think|>"]
    words = tokenizer([*special, *named.values()], "<bos>", "<eos>", "<pad>", **named)
    images = tf.Gemma4ImageProcessor(patch_size=16, max_soft_tokens=70, pooling_kernel_size=3)
    sounds, videos = tf.Gemma4AudioFeatureExtractor(), tf.Gemma4VideoProcessor()
    text = template("gemma4")
    processor = tf.Gemma4Processor(sounds, images, words, videos, image_seq_length=70, chat_template=text)
    ids = {f"{name}_id": words.convert_tokens_to_ids(token) for name, token in named.items() if name != "eoa_token"}
    ids |= {"eoa_token_index": words.convert_tokens_to_ids("<audio|>")}
    ids |= {"video_token_id": words.convert_tokens_to_ids("<|video|>")}
    language = (
        TEXT
        | SLIDING
        | {
            "vocab_size": len(words),
            "global_head_dim": 16,
            "vocab_size_per_layer_input": len(words),
            "hidden_size_per_layer_input": 16,
            "num_kv_shared_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        }
    )
    vision = TOWER | {"num_key_value_heads": 4, "head_dim": 16}
    model = tf.Gemma4ForConditionalGeneration(
        tf.Gemma4Config(vision_config=vision, audio_config=None, text_config=language, **ids)
    )
    model.generation_config.eos_token_id = words.convert_tokens_to_ids(["<eos>", "<turn|>"])
    return model, processor


def llava() -> Built:
    words = tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"], None, "<|im_end|>", "<|endoftext|>")
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    processor = tf.LlavaProcessor(
        images,
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chatml("<image>\n"),
    )
    config = tf.LlavaConfig(
        vision_config=SIGLIP | {"model_type": "clip_vision_model", "projection_dim": 64},
        text_config={"model_type": "llama", "vocab_size": len(words), **TEXT},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    return tf.LlavaForConditionalGeneration(config), processor


def llava_onevision() -> Built:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
    words = tokenizer(special, None, "<|im_end|>", "<|endoftext|>")
    size, pinpoints = {"height": 56, "width": 56}, [[56, 56], [56, 112], [112, 56], [112, 112]]
    images = tf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pinpoints)
    text = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + part['text'] }}"
        "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% endif %}"
    )  # as published: images before all text, a line break before an answer
    processor = tf.LlavaOnevisionProcessor(
        images,
        words,
        tf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=text,
    )
    config = tf.LlavaOnevisionConfig(
        vision_config=SIGLIP | {"vision_use_head": False},
        text_config={"model_type": "qwen2", "vocab_size": len(words), **TEXT},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )
    return tf.LlavaOnevisionForConditionalGeneration(config), processor


def lfm2_vl() -> Built:
    named = {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail": "<|img_thumbnail|>",
    }
    special = ["<|pad|>", "<|startoftext|>", "<|im_start|>", "<|im_end|>", "<|tool_call_start|>", "<|tool_call_end|>"]
    words = tokenizer([*special, *named.values()], "<|startoftext|>", "<|im_end|>", "<|pad|>", **named)
    images = tf.Lfm2VlImageProcessor(
        do_image_splitting=False,
        min_image_tokens=4,
        max_image_tokens=16,
        encoder_patch_size=16,
        tile_size=64,
        max_num_patches=64,
    )
    processor = tf.Lfm2VlProcessor(images, words, chat_template=template("lfm2_2_5_vl"))
    layers = ["conv", "full_attention"] * 2
    config = tf.Lfm2VlConfig(
        vision_config=TOWER | {"patch_size": 16, "num_patches": 64},
        text_config={"model_type": "lfm2", "vocab_size": len(words), "layer_types": layers, **TEXT},
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    return tf.Lfm2VlForConditionalGeneration(config), processor


def mistral3() -> Built:
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<pad>"]
    words = tokenizer(special, "<s>", "</s>", "<pad>")
    text = (
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST]"
        "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}[IMG]"
        "{% endif %}{% endfor %}[/INST]{% elif message['role'] == 'assistant' %}"
        "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{{ eos_token }}"
        "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
    )
    images = tf.PixtralImageProcessor(size={"longest_edge": 56}, patch_size=14)
    processor = tf.PixtralProcessor(images, words, patch_size=14, spatial_merge_size=2, chat_template=text)
    config = tf.Mistral3Config(
        vision_config=TOWER | {"model_type": "pixtral", "image_size": 56, "patch_size": 14},
        text_config=TEXT | {"model_type": "mistral", "vocab_size": len(words), "head_dim": 16, "sliding_window": None},
        image_token_index=words.convert_tokens_to_ids("[IMG]"),
    )
    return tf.Mistral3ForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[[], Built]] = {
    "idefics3": lambda: idefics("idefics3"),
    "smolvlm": lambda: idefics("smolvlm"),
    "smolvlm with split images": lambda: idefics("smolvlm", split=True),
    "llava": llava,
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": lambda: qwen("qwen2_5_vl"),
    "qwen3_vl": lambda: qwen("qwen3_vl"),
    "qwen3_5": lambda: qwen("qwen3_5"),
    "internvl": internvl,
    "gemma3": gemma3,
    "gemma4": gemma4,
    "lfm2_vl": lfm2_vl,
    "mistral3": mistral3,
}


@torch.no_grad()
def build(name: str, folder: Path) -> None:
    """The family's tiny model and processor as a checkpoint. Raises what transformers raises where a package is
    missing."""
    torch.manual_seed(0)
    model, processor = FAMILIES[name]()
    for weights in model.parameters():
        if weights.dim() > 1:
            weights.normal_(0, STD)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
