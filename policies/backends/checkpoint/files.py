"""A checkpoint's files, which may come from anywhere: JSON and safetensors, sound, and of sizes that fit together.

A file that is damaged is named before weights are loaded. A config of 1 kB may ask for a model of 10^12 parameters: the
model that it describes is built without data, on torch's meta device, and compared with what the weights' headers hold.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, PreTrainedConfig

from envs.errors import UserError, first_line, shown
from policies.backends.checkpoint.records import read_json

CONFIG, INDEX, ADAPTERS = "config.json", "model.safetensors.index.json", "adapter_config.json"
WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Parts that a model repeats: building a billion of them takes for ever, even without data.
REPEATED = (
    *("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "depths", "encoder_layers", "decoder_layers"),
    *("num_encoder_layers", "num_decoder_layers", "num_experts", "num_local_experts", "n_routed_experts"),
)
MOST_REPEATED = 2000
MOST_EDGE = 10**8  # [px] of a picture that a processor makes; some count all its pixels under the name of an edge
UNPACKED = 16  # values that a quantised checkpoint may hold in one
FREE = 10**8  # parameters that a config may ask for whatever the weights hold
# What transformers, tokenizers, peft and safetensors raise for files that are missing, cut, of another format, or need
# a package, and Jinja for templates.
BROKEN = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError, ArithmeticError),
    *(SyntaxError, MemoryError, SafetensorError, StrictDataclassError),
)


def check_json(folder: Path) -> None:
    """Raises UserError for a JSON file that is damaged."""
    for path in sorted(folder.glob("[!.]*.json")):
        read_json(path)


def check_weights(folder: Path) -> None:
    """Raises UserError for weights that are damaged, pickled, or not there."""
    if not (folder / ADAPTERS).is_file():
        for path in shards(folder):
            header(path)
        return
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise _no_weights(folder, ADAPTER_WEIGHTS)
    config = read_json(folder / ADAPTERS)
    patterns = config.get("rank_pattern") or {}
    ranks = [config.get("r", 8), *(patterns.values() if isinstance(patterns, dict) else [patterns])]
    widest = max((max(shape, default=0) for shape in header(folder / ADAPTER_WEIGHTS).values()), default=0)
    if not all(isinstance(rank, int) and 0 < rank <= max(widest, 1) for rank in ranks):
        raise UserError(f"{ADAPTERS} has ranks {shown(ranks, 60)}; valid: 1 to {widest}, the widest of its weights")
    if config.get("layer_replication"):
        raise UserError(f"{ADAPTERS} has layer_replication; valid: adapters of the base as it is")


def check_code(folder: Path, trusted: bool) -> None:
    """Raises UserError for a model that exists only as Python code in its folder, unless that is trusted."""
    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    if config.get("auto_map") and kind not in [*CONFIG_MAPPING.keys()] and not trusted:
        raise UserError(
            f"its model, {shown(kind, 60)}, is Python code that the checkpoint brings; valid: a model of transformers, "
            "or, for code that you have read, model.trust_remote_code"
        )


def said(error: Exception) -> str:
    """What was raised, short and in one line."""
    if isinstance(error, StrictDataclassError):
        return " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {error}"[:300] if isinstance(error, LookupError) else first_line(error)[:300]


def shards(folder: Path) -> list[Path]:
    """The files of a whole model's weights. Raises UserError where there are none but pickles, or one is missing."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise _no_weights(folder, WEIGHTS)
    named = read_json(folder / INDEX).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise UserError(f"{INDEX} has weight_map = {shown(named, 60)}; valid: tensor -> file")
    for name in named.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{INDEX} names {shown(name, 60)}; valid: a file beside it, as safetensors")
        if not (folder / name).is_file():
            raise UserError(f"{name}, which {INDEX} names, is not there")
    return [folder / name for name in sorted(set(named.values()))]


def _no_weights(folder: Path, name: str) -> UserError:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        return UserError(
            f"its weights are pickled ({pickles[0]}), and such a file can run code; valid: safetensors, as "
            "`model.save_pretrained(folder)` writes them"
        )
    return UserError(f"it has no weights; valid: {name}")


def header(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape, of a safetensors file. Raises UserError for one that is damaged or cannot be read."""
    try:
        path.open("rb").close()  # safetensors says of a file that it may not read that there is none
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}; valid: a file that is readable here") from error
    try:
        with safe_open(path, "pt") as weights:
            return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path.name} is damaged: {first_line(error)[:200]}; valid: safetensors, whole") from error


def share(folder: Path) -> None:
    """Let those read a checkpoint's weights who may read its config: safetensors gives them to their owner alone."""
    configs = [folder / name for name in (CONFIG, ADAPTERS) if (folder / name).is_file()]
    for weights in folder.glob("*.safetensors") if configs else ():
        weights.chmod(configs[0].stat().st_mode)


def check_repeated(config: PreTrainedConfig) -> None:
    """Raises UserError for a config with more layers or experts than any model has."""
    for name, value in _numbers(config.to_dict()):
        if name in REPEATED and value > MOST_REPEATED:
            raise UserError(f"{CONFIG} has {name} = {value:.12g}; valid: at most {MOST_REPEATED:,}")


def check_size(folder: Path, config: PreTrainedConfig, trust_remote_code: bool = False) -> None:
    """Raises UserError for a config that asks for a much larger model than the weights are, before it is allocated."""
    check_repeated(config)
    held = sum(_product(shape) for path in shards(folder) for shape in header(path).values())
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    asked = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if asked > UNPACKED * held + FREE:
        raise UserError(f"{CONFIG} asks for {asked:,} parameters; valid: those of its weights, which hold {held:,}")


def mismatched(folder: Path, config: PreTrainedConfig, trust_remote_code: bool = False) -> list[str]:
    """Tensors whose shapes differ between weights and config, with both; those that loading renames do not count."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: shape for path in shards(folder) for name, shape in header(path).items()}
    both = sorted(set(wanted) & set(found))
    return [f"{name} is {found[name]}, by {CONFIG} {wanted[name]}" for name in both if found[name] != wanted[name]]


def check_processor(folder: Path) -> None:
    """Raises UserError for a processor that makes pictures of an absurd size."""
    for path in sorted(folder.glob("*processor_config.json")):
        for name, value in _numbers(read_json(path)):
            if name in ("height", "width", "longest_edge", "shortest_edge", "size", "crop_size") and value > MOST_EDGE:
                raise UserError(f"{path.name} has {name} = {value:,}; valid: at most {MOST_EDGE:,}")


def _numbers(values: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """(key, number) of each in a nested structure; of a list, under the list's key."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _numbers(value, str(key))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _numbers(value, name)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield name, values


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
