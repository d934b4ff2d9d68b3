"""Which frame size a model wants, and what a frame costs in tokens, read off its transformers processor. Without torch.

At a smaller size the processor invents pixels, at a larger one it throws some away. Processors do one of four things:
- scale every picture to one size: CLIP and SigLIP (LLaVA), Gemma 3, GotOcr2 (InternVL), LLaVA-NeXT and -OneVision;
- scale it to the side of the vision encoder, or cut it into tiles of that side: Idefics3, SmolVLM and the embedded
  policy (`max_image_size`). Tiles of a frame are the same few pixels enlarged: set `do_image_splitting` to false;
- scale it to a budget of tokens: Gemma 4 (`max_soft_tokens`);
- keep its size within bounds, a token for each square of some pixels: Qwen-VL, GLM-V, LFM2-VL, Pixtral. There a frame
  has SIDE tokens along a side, and at least SMALLEST pixels. Qwen2.5-VL: 224 px, 64 tokens of 28 px. An object of the
  tabletop is an eighth of the picture wide, and so has a token of its own; SmolVLM's encoder gives as many.
"""

import math
from typing import Any, Literal

import numpy as np
from PIL import Image

from envs.errors import UserError
from envs.task import IMAGE_SIZE

# Of a frame whose size the processor leaves open:
SIDE = 8  # tokens along a side
SMALLEST = 224  # [px] encoders are hardly trained on smaller pictures
# [px] A larger frame has to be asked for: an episode's frames are held in memory, at this size 0.8 MB each.
LARGEST = 512
GREY = 128


def resolve_image_size(setting: int | Literal["auto"], processor: Any) -> int | None:
    """[px] of the frames that a policy is given; None for each task's own size.

    auto: the size that the processor wants; where that is IMAGE_SIZE, which tasks have without it, each task's own, as
    for a model behind a server, whose processor is not known (None). Raises UserError as `frame_size` does.
    """
    if setting != "auto" or processor is None:
        return None if setting == "auto" else setting
    wanted = frame_size(processor)
    return None if wanted == IMAGE_SIZE else wanted


def frame_size(processor: Any) -> int:
    """[px] of a square frame that the processor neither enlarges needlessly nor shrinks; at most LARGEST.

    Raises UserError where the processor's settings do not tell.
    """
    images = getattr(processor, "image_processor", None)
    for rule in (_of_encoder, _of_budget, _of_squares, _of_one_size):
        if images is not None and (side := rule(images, processor)):
            return min(side, LARGEST)
    kind = type(images if images is not None else processor).__name__
    raise UserError(f"image_size 'auto': {kind} does not say which size it wants; valid: a number of pixels")


def image_tokens(processor: Any, size: int, frames: int = 1) -> int:
    """Tokens that frames of this size [px] add to a prompt, what stands around them included: measured on grey ones.

    Two frames need not cost twice as much: LLaVA-OneVision tiles a single image only.
    """
    return _prompt_length(processor, size, frames) - _prompt_length(processor, size, 0)


def _prompt_length(processor: Any, size: int, n: int) -> int:
    content = [{"type": "image"}] * n + [{"type": "text", "text": "act"}]
    chat = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    blank = Image.fromarray(np.full((size, size, 3), GREY, np.uint8))
    return len(processor(text=[text], images=[[blank] * n] if n else None)["input_ids"][0])


def _of_encoder(images: Any, processor: Any) -> int | None:
    return _edge(getattr(images, "max_image_size", None), "longest_edge")


def _of_budget(images: Any, processor: Any) -> int | None:
    """The largest square of whole tokens within the budget: Gemma 4 scales every picture to it."""
    budget = getattr(images, "max_soft_tokens", None)
    return budget and math.isqrt(budget) * images.patch_size * images.pooling_kernel_size


def _of_squares(images: Any, processor: Any) -> int | None:
    """SIDE tokens, more where that is less than SMALLEST, or as near to that as the processor's bounds allow."""
    size = getattr(images, "size", None)
    shortest, longest = _edge(size, "shortest_edge"), _edge(size, "longest_edge")
    if patch := getattr(images, "encoder_patch_size", None):  # LFM2-VL bounds the tokens
        unit = patch * images.downsample_factor
        low, high = (math.sqrt(n) for n in (images.min_image_tokens, images.max_image_tokens))
    elif merge := getattr(images, "merge_size", None):  # Qwen-VL and its kin bound the pixels, under names of edges
        unit = images.patch_size * merge
        low = math.sqrt(shortest or getattr(images, "min_pixels", None) or 0) / unit
        high = math.sqrt(longest or getattr(images, "max_pixels", None) or LARGEST**2) / unit
    elif longest and (patch := getattr(images, "patch_size", None)):  # Pixtral bounds the longest edge
        unit = (_edge(patch, "height") or patch) * getattr(processor, "spatial_merge_size", 1)
        low, high = 0, longest / unit
    else:
        return None
    tokens = max(SIDE, math.ceil(SMALLEST / unit), math.ceil(low))
    return unit * max(1, math.floor(min(high, tokens)))


def _of_one_size(images: Any, processor: Any) -> int | None:
    """The size that a picture is scaled to; where its edges are cut off after that, the size before."""
    size = getattr(images, "size", None)
    height, shortest, longest = (_edge(size, name) for name in ("height", "shortest_edge", "longest_edge"))
    if height:
        return max(height, _edge(size, "width") or 0)
    return shortest or longest


def _edge(size: Any, name: str) -> int | None:
    """An entry of a processor's size, which is a dict, a SizeDict or None."""
    return size.get(name) if isinstance(size, dict) else getattr(size, name, None)
