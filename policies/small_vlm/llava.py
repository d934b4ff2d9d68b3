"""A stock LLaVA (Liu et al., 2023, arXiv:2304.08485) of DINOv2 ViT-S/14 and SmolLM2-135M-Instruct.

Two pretrained halves and a new projector: it reads and writes English, and has features of images, but was never
taught what these say. Training that includes the projector joins them: of all weights, or with LoRA and
`model.lora.modules_to_save: [multi_modal_projector]`.

An image of S x S pixels is (S / 14)^2 tokens of the language model. Reading one and 80 tokens of text takes 0.24, 0.41,
0.66 and 1.07 cpu-s at 56, 112, 168 and 224 px (16, 64, 144 and 256 tokens; float32), nine tenths of it the language
model's. At 112 px, a token covers as much of a 64 px frame as one of the embedded policy's patches, 8 px.
"""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from policies.small_vlm.dinov2 import PATCH_SIZE, load_vision
from policies.small_vlm.packages import LANGUAGE, VISION
from policies.small_vlm.smollm2 import CHAT_TEMPLATE, IMAGE, load_language, with_images

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # what DINOv2 was trained with
FEATURE_LAYER = -3  # ridge regression of reach's gripper is off by 3.2 of 32 places from it, by 4.0 from the last
CALIBRATION_IMAGES = 16


def assemble(image_size: int, seed: int) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Model, in float32, and processor. image_size: [px], a multiple of 14. seed: of the projector's weights.

    Raises UserError where a package is missing.
    """
    language_path, vision_path = LANGUAGE.path(), VISION.path()
    vision = load_vision(vision_path)
    language, tokenizer = load_language(language_path)
    with_images(language, tokenizer)
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=language.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(image_size // PATCH_SIZE) ** 2,
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy="default",  # all but the CLS token
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(vision.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    processor = build_processor(tokenizer, image_size)
    initialise_projector(model, processor, seed)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), processor


def build_processor(tokenizer, image_size: int) -> LlavaProcessor:
    """The stock processor with a PIL image processor (the other needs torchvision). Frames are resized to a square."""
    size = {"height": image_size, "width": image_size}
    images = BitImageProcessorPil(
        size=size, crop_size=size, do_center_crop=False, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLS
        chat_template=CHAT_TEMPLATE,
    )


@torch.no_grad()
def initialise_projector(model: LlavaForConditionalGeneration, processor: LlavaProcessor, seed: int) -> None:
    """Fan-in initialisation (LeCun et al., 1998), each layer then scaled by what it measures (LSUV, Mishkin & Matas,
    2016, arXiv:1511.06422), in place.

    DINOv2's patches share a large mean, which hides how they differ: the first layer subtracts it. Image tokens come
    out as long as words' embeddings are, so that neither drowns the other.
    """
    generator = torch.Generator().manual_seed(seed)
    projector, words = model.model.multi_modal_projector, model.get_input_embeddings().weight
    pixels = processor.image_processor(drawings(CALIBRATION_IMAGES, seed), return_tensors="pt")["pixel_values"]
    features = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[FEATURE_LAYER][:, 1:]
    features = features.flatten(0, 1)
    _standardise(projector.linear_1, features, 1.0, generator)
    hidden = projector.act(projector.linear_1(features))
    _standardise(projector.linear_2, hidden, float(words.square().mean().sqrt()), generator)


def _standardise(layer: torch.nn.Linear, inputs: torch.Tensor, rms: float, generator: torch.Generator) -> None:
    """Draws weights so that, of `inputs` (N, in), outputs have mean 0 and root mean square `rms`."""
    layer.weight.normal_(0, 1 / math.sqrt(layer.in_features), generator=generator)
    layer.bias.zero_()
    layer.weight.mul_(rms / layer(inputs - inputs.mean(dim=0)).square().mean().sqrt())
    layer.bias.sub_(layer(inputs).mean(dim=0))


def drawings(n: int, seed: int) -> list[Image.Image]:
    """Pictures of 112 px with coloured rectangles and ellipses on a plain ground, from which nothing is learned."""
    rng, pictures = np.random.default_rng(seed), []
    for _ in range(n):
        picture = Image.new("RGB", (112, 112), tuple(map(int, rng.integers(0, 256, 3))))
        draw = ImageDraw.Draw(picture)
        for i in range(4):
            x, y, width, height = map(int, rng.integers([0, 0, 8, 8], [96, 96, 32, 32]))
            shape = draw.rectangle if i % 2 else draw.ellipse
            shape((x, y, x + width, y + height), fill=tuple(map(int, rng.integers(0, 256, 3))))
        pictures.append(picture)
    return pictures


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """A plain folder of transformers, with the halves' licences beside the weights."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    for weights in (LANGUAGE, VISION):
        (folder / f"LICENSE.{weights.distribution}.txt").write_text(weights.licence_text())
