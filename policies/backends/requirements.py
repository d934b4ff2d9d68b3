"""The memory that a model needs to act and to be trained, and its expected speed, from its config alone.

The model is built on torch's meta device, where tensors have shapes and no data: parameters and the KV cache are
counted, not estimated. What training keeps for the backward pass is estimated:

    bytes a token = value_bytes * (in + out of each Linear layer of the decoder)
                    + 4 * (in of each), with LoRA below float32: peft casts an adapter's input to float32
                    + (value_bytes + 8) * vocabulary: logits, their float32 copy and its gradient

Each layer's input and output are kept once, as in Korthikanti et al. (2022, arXiv:2205.05198), with attention that
does not keep its matrix (sdpa, flash). On one H200 in bfloat16, 32 rows of 190 tokens with LoRA of rank 16, 15.8 GiB
were measured for SmolVLM-500M's shape and 55.7 GiB for Qwen2.5-VL-3B's: the formula gives 16.0 and 56.2. Acting with
256 rows took 6.4 and 11.7 GiB: it gives 5.5 and 10.3. Leave an eighth of the memory free.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    DynamicCache,
    PreTrainedConfig,
)

from envs.errors import UserError
from policies.backends.checkpoint.files import BROKEN, check_repeated
from policies.base import NAMED

SHAPES = Path(__file__).with_name("shapes.yaml")
GIB = 2**30
# float32 weights, gradients and Adam's two moments (Rajbhandari et al., 2020, arXiv:1910.02054)
TRAINED_BYTES = 16
QUANTISED_BYTES = {"int8": 1.0, "nf4": 0.5625}  # of a weight; nf4 has a float32 scale for each 64


@dataclass(frozen=True)
class Work:
    """rows: decisions at once. batch: rows of a training step on one device. tokens: of one row, image and answer
    included. image_tokens: of its image. value_bytes: of a weight and an activation. r: rank of LoRA."""

    rows: int = 128
    batch: int = 8
    tokens: int = 512
    image_tokens: int = 64
    value_bytes: int = 2
    r: int = 16


@dataclass(frozen=True)
class Linears:
    """Sums over Linear layers. n: how many. inputs, outputs: features. weights: in * out. widest: the largest in + out
    of those that blocks repeat, which a projector's are not."""

    n: int
    inputs: int
    outputs: int
    widest: int
    weights: int

    @property
    def width(self) -> int:
        return self.inputs + self.outputs

    def adapters(self, r: int) -> int:
        """Parameters of LoRA on all of them: A is (r, in) and B (out, r)."""
        return r * self.width


@dataclass(frozen=True)
class Shape:
    """What a config says of a model's size.

    parameters: tied ones once. decoder, towers: the Linear layers of the language model without its head, and of
    everything else but the head. layers, hidden: of the decoder. cache: values of the KV cache of one row.
    patches: of the vision tower for one token of an image; None where the config does not tell. patch_values: numbers
    in one patch's pixels.
    """

    parameters: int
    decoder: Linears
    towers: Linears
    layers: int
    hidden: int
    vocabulary: int
    cache: int
    patches: float | None
    patch_values: int


def shape_of(config: PreTrainedConfig, tokens: int) -> Shape:
    """tokens: of a row, for its KV cache: sliding layers keep their window, recurrent ones their state.

    Raises UserError for a model that takes no images with text.
    """
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise UserError(
            f"a model of type {config.model_type!r} takes no images with text; valid: a vision-language one"
        )
    text = config.get_text_config(decoder=True)
    with torch.device("meta"), torch.no_grad():
        model = AutoModelForImageTextToText.from_config(config)
        decoder = model.get_decoder()
        cache = DynamicCache(config=text)
        decoder(input_ids=torch.zeros(1, tokens, dtype=torch.long), past_key_values=cache, use_cache=True)
    inside = list(_linears(decoder))
    known = {id(layer) for layer in (*inside, model.get_output_embeddings())}
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        decoder=_sums(inside),
        towers=_sums([layer for layer in _linears(model) if id(layer) not in known]),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vocabulary=model.get_output_embeddings().weight.shape[0],
        cache=sum(_numbers(vars(layer)) for layer in cache.layers),
        patches=_patches_per_token(config),
        patch_values=3 * _side(getattr(config.vision_config, "patch_size", 1)) ** 2,
    )


def _linears(module: torch.nn.Module) -> Iterator[torch.nn.Linear]:
    return (layer for layer in module.modules() if isinstance(layer, torch.nn.Linear))


def _sums(layers: list[torch.nn.Linear]) -> Linears:
    widths = Counter(layer.in_features + layer.out_features for layer in layers)
    often = max(widths.values(), default=0) / 4
    return Linears(
        n=len(layers),
        inputs=sum(layer.in_features for layer in layers),
        outputs=sum(layer.out_features for layer in layers),
        widest=max((width for width, n in widths.items() if n >= often), default=0),
        weights=sum(layer.weight.numel() for layer in layers),
    )


def _numbers(value: Any) -> int:
    """Numbers in the tensors of a cache's layer, in dictionaries too; layers that share another's keys have none."""
    if isinstance(value, torch.Tensor):
        return value.numel() if value.ndim else 0  # a window's layer also counts what it has read
    return sum(map(_numbers, value.values())) if isinstance(value, dict) else 0


def _patches_per_token(config: PreTrainedConfig) -> float | None:
    """Patches that a family merges into one token of the language model."""
    vision = config.vision_config
    for holder, name in ((config, "scale_factor"), (vision, "spatial_merge_size"), (vision, "pooling_kernel_size")):
        if merged := getattr(holder, name, None):
            return float(merged**2)
    if ratio := getattr(config, "downsample_ratio", None):
        return 1 / ratio**2
    if tokens := getattr(config, "mm_tokens_per_image", None):
        return (vision.image_size / vision.patch_size) ** 2 / tokens
    return 1.0 if config.model_type == "llava" else None


def _side(size: int | list[int] | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else size[0]


def needs(shape: Shape, work: Work) -> dict[str, dict[str, float]]:
    """What is done -> what takes memory -> bytes.

    Weights are quantised only below float32, on a GPU. Full training is left out where the patches are not known.
    """
    weights = shape.parameters * work.value_bytes
    adapters = {"adapters": shape.decoder.adapters(work.r) * TRAINED_BYTES}
    positions = work.batch * work.tokens
    logits = positions * (work.value_bytes + 8) * shape.vocabulary
    kept, kept_with_lora = (positions * _kept_per_token(shape.decoder, work, lora) for lora in (False, True))
    checkpoints = positions * work.value_bytes * shape.layers * shape.hidden + kept_with_lora / shape.layers
    result = {
        "act": {"weights": weights, "KV cache": work.rows * work.value_bytes * shape.cache, "work": _work(shape, work)},
        "LoRA": {"weights": weights, **adapters, "activations": kept_with_lora + logits},
        "LoRA, checkpointing": {"weights": weights, **adapters, "activations": checkpoints + logits},
    }
    for name, value_bytes in QUANTISED_BYTES.items() if work.value_bytes == 2 else ():
        saved = (work.value_bytes - value_bytes) * (shape.decoder.weights + shape.towers.weights)
        result[f"LoRA, checkpointing, {name}"] = result["LoRA, checkpointing"] | {"weights": weights - saved}
    if shape.patches is not None:
        towers = work.batch * work.image_tokens * shape.patches * _kept_per_token(shape.towers, work, lora=False)
        trained = {"weights and Adam": shape.parameters * TRAINED_BYTES}
        result["full"] = {**trained, "activations": kept + towers + logits}
    return result


def _kept_per_token(linears: Linears, work: Work, lora: bool) -> float:
    cast = 4 * linears.inputs if lora and work.value_bytes < 4 else 0
    return work.value_bytes * linears.width + cast


def _work(shape: Shape, work: Work) -> float:
    """Of reading prompts: pixels, the widest layer's input and output, and float32 logits with their mask and noise."""
    read = work.rows * work.tokens * shape.decoder.widest
    patches = work.rows * work.image_tokens * (shape.patches or 1)
    seen = patches * shape.towers.widest
    pixels = patches * shape.patch_values * 4
    return max(read, seen) * work.value_bytes + pixels + work.rows * shape.vocabulary * 8


# Weights of all Linear layers -> decisions a second at 128 rows, rows a second of LoRA training at 32 rows: of
# SmolVLM-500M's and Qwen2.5-VL-3B's shapes with random weights, on one H200 in bfloat16, rows of 190 tokens (64 of an
# image, 40 of the answer), by `model.generate` and one training step without checkpointing.
MEASURED = ((458_612_736, 135.0, 138.0), (3_752_361_984, 70.0, 49.0))
MEASURED_TOKENS = 190


def speeds(shape: Shape, tokens: int) -> tuple[float, float] | None:
    """Decisions a second at 128 rows, and rows a second of LoRA training, expected on one H200.

    A power law through the two measured shapes; above the larger one, time grows with the weights. Training time also
    grows with the tokens of a row. An extrapolation, not a promise; None for a model smaller than those measured.
    """
    weights = shape.decoder.weights + shape.towers.weights + shape.vocabulary * shape.hidden
    (small, *slow), (large, *fast) = MEASURED
    if weights < small:
        return None
    expected = []
    for at_small, at_large in zip(slow, fast, strict=True):
        power = math.log(at_large / at_small) / math.log(large / small) if weights < large else -1
        expected.append(at_large * (weights / large) ** power)
    return expected[0], expected[1] * MEASURED_TOKENS / tokens


@dataclass(frozen=True)
class Known:
    """A model of shapes.yaml. millions: of parameters, as the hub shows them. image_tokens: of one frame."""

    millions: int
    image_tokens: int
    config: dict[str, Any]


def known() -> dict[str, Known]:
    return {name: Known(**entry) for name, entry in yaml.safe_load(SHAPES.read_text()).items()}


def config_of(policy: str) -> PreTrainedConfig:
    """Of a checkpoint's folder, of `seed`, of a model in shapes.yaml, or of one on a hub: no weights are read.

    Raises UserError where there is none.
    """
    if policy in (models := known()):
        return built(models[policy])
    path = NAMED.get(policy, Path(policy))
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except BROKEN as error:
        valid = f"a folder with config.json, seed, or a model on a hub; known without one: {', '.join(models)}"
        raise UserError(f"no config of {policy!r}; valid: {valid}") from error
    check_repeated(config)
    return config


def built(model: Known) -> PreTrainedConfig:
    values = dict(model.config)
    return CONFIG_MAPPING[values.pop("model_type")](**values)
