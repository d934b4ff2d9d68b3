"""A LLaVA of random weights, 0.3 M parameters: another family than the embedded model, without torchvision."""

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from policies.backends import nano

IMAGE_SIZE, PATCH_SIZE = 56, 14  # [px]: 16 image tokens
SPREAD = 0.15  # standard deviation of weights: with transformers' 0.02 hardly an input changes an output


def build(words):
    """Model and processor."""
    torch.manual_seed(0)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = CLIPImageProcessorPil(size=size, do_center_crop=False, crop_size=size)
    tokenizer = nano.build_tokenizer(words)
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=nano.CHAT_TEMPLATE,
    )
    vision = {"model_type": "clip_vision_model", "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE}
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2}
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = LlavaConfig(
        vision_config=shape | vision,
        text_config=shape | text | {"max_position_embeddings": 512},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE) ** 2,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=SPREAD)
    return model, processor
