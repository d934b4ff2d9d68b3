"""A checkpoint -> a backend, or one line that says what is wrong with it, before anything long starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import logging

from envs.errors import UserError, first_line
from policies.backends.adapters import folder as adapters
from policies.backends.adapters import lora
from policies.backends.adapters.quantised import quantisation
from policies.backends.checkpoint import files
from policies.backends.checkpoint.files import BROKEN
from policies.backends.huggingface import HFBackend
from policies.backends.probe import probe
from policies.backends.server.address import ServerAddress
from policies.backends.settings import ModelSettings, recalled
from policies.backends.template import ChatTemplate
from policies.threads import one_thread

logging.disable_progress_bar()  # loading two megabytes needs no bar
VALID = "valid: a folder with config.json, weights and processor of an image-text-to-text model"
SMALL = 100e6  # bytes of weights
NAMED = 3  # at most, of the tensors at fault


def load_backend(path: str | Path, settings: ModelSettings | None = None) -> HFBackend:
    """From a checkpoint's folder, of a whole model or of adapters. Raises UserError for what cannot work."""
    folder = Path(path)
    adapted = adapters.has_adapters(folder)
    if not adapted and not (folder / "config.json").is_file():
        raise UserError(f"no checkpoint in {str(path)!r}; {VALID}")
    try:
        files.check_json(folder)
        files.check_weights(folder)
        settings = recalled(settings or ModelSettings(), folder)
        base = adapters.find_base(folder, settings.base) if adapted else path
        new = settings.lora.modules_to_save if settings.lora else ()
        model = _model(base, settings, adapters.whole_modules(folder) if adapted else new)
        if adapted:
            model = lora.load(model, folder, settings.lora)
        backend = HFBackend(model, _processor(folder, settings), settings)
        with one_thread():  # as it will act
            probe(backend)
    except UserError as error:
        raise UserError(f"checkpoint {str(path)!r}: {error}") from error
    except (*BROKEN, TemplateError) as error:
        raise UserError(f"checkpoint {str(path)!r} does not load: {files.said(error)}; {VALID}") from error
    return backend


def load_trainable(path: str | Path, settings: ModelSettings, seed: int = 0) -> HFBackend:
    """As `load_backend`, with new adapters where `settings.lora` asks for them and the checkpoint has none.

    seed: of their weights. Raises UserError for what cannot be trained.
    """
    backend = load_backend(path, settings)
    if not lora.is_adapted(backend.model):
        if settings.quantise != "none" and not settings.lora:
            raise UserError(
                f"model.quantise = {settings.quantise!r} without adapters to train; valid: model.lora, or none"
            )
        if settings.lora:
            backend.model = lora.add(backend.model, settings.lora, seed).eval()
    return backend


def load_template(path: str | Path, settings: ModelSettings) -> ChatTemplate:
    """The chat template of a checkpoint, without its weights. Raises UserError as `load_backend` does."""
    try:
        files.check_json(Path(path))
        return ChatTemplate(_processor(path, settings))
    except UserError as error:
        raise UserError(f"checkpoint {str(path)!r}: {error}") from error
    except (*BROKEN, TemplateError) as error:
        raise UserError(f"checkpoint {str(path)!r} does not load: {files.said(error)}; {VALID}") from error


def _model(path: str | Path, settings: ModelSettings, whole: tuple[str, ...]) -> PreTrainedModel:
    """whole: parts that are not quantised."""
    files.check_json(Path(path))
    files.check_code(Path(path), settings.trust_remote_code)
    config = AutoConfig.from_pretrained(path, trust_remote_code=settings.trust_remote_code)
    _check_kind(config, settings)
    files.check_size(Path(path), config, settings.trust_remote_code)
    device = _device(settings, Path(path))
    arguments: dict[str, Any] = {"dtype": _dtype(settings.dtype, device)}
    if settings.attention:
        arguments["attn_implementation"] = settings.attention
    if settings.quantise != "none":
        arguments["quantization_config"] = quantisation(settings.quantise, arguments["dtype"], whole)
        arguments["device_map"] = {"": device}
    arguments |= {"trust_remote_code": settings.trust_remote_code, "use_safetensors": True}
    with _quiet():
        try:
            model, loaded = AutoModelForImageTextToText.from_pretrained(path, output_loading_info=True, **arguments)
        except RuntimeError as error:
            differ = files.mismatched(Path(path), config, settings.trust_remote_code)
            if not differ:
                raise
            raise UserError(f"{len(differ)} tensors are of another shape: {differ[0]}") from error
    _check_weights(model, loaded["missing_keys"])
    return model if settings.quantise != "none" else model.to(device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' table of the tensors that do not fit, which a line of ours names."""
    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check_kind(config: PreTrainedConfig, settings: ModelSettings) -> None:
    custom = settings.trust_remote_code and "AutoModelForImageTextToText" in getattr(config, "auto_map", {})
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not custom:
        raise UserError(f"a model of type {config.model_type!r} takes no images with text; {VALID}")


def _check_weights(model: PreTrainedModel, missing: set[str]) -> None:
    """Raises UserError for tensors that are not in the files, which transformers draws at random, and for NaN."""
    if missing:
        raise UserError(f"{len(missing)} tensors are missing: {_some(sorted(missing))}")
    bad = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        raise UserError(f"{len(bad)} tensors are not finite: {_some(bad)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _processor(path: str | Path, settings: ModelSettings) -> ProcessorMixin:
    """A checkpoint's, or its base's where adapters came without. With image processors on PIL where there are: the
    others need torchvision, and resize to other pixels."""
    path = Path(path)
    if adapters.has_adapters(path) and not (path / "tokenizer_config.json").is_file():
        path = adapters.find_base(path, settings.base)
    files.check_processor(path)
    arguments = {"trust_remote_code": settings.trust_remote_code, **settings.processor}
    if "backend" in arguments:
        processor = _read_processor(path, **arguments)
    else:
        try:
            processor = _read_processor(path, backend="pil", **arguments)
        except (ImportError, ValueError) as error:
            if "ideo processor" not in str(error):  # those of videos, which we never show, know no PIL
                raise
            processor = _read_processor(path, **arguments)
    if not hasattr(processor, "image_processor"):
        raise UserError(f"its processor, {type(processor).__name__}, takes no images; {VALID}")
    return processor


def _read_processor(path: Path, **arguments: Any) -> ProcessorMixin:
    """Raises what transformers raises, and UserError for a tokenizer that the tokenizers library cannot read."""
    try:
        return AutoProcessor.from_pretrained(path, **arguments)
    except BROKEN:
        raise
    except Exception as error:  # what the library, written in Rust, raises has no type of its own
        raise UserError(
            f"its tokenizer cannot be read: {first_line(error)[:200]}; valid: tokenizer.json, whole"
        ) from error


def is_shared(policy: Path | Any, settings: ModelSettings) -> bool:
    """Whether one process acts for the environments of all workers. policy: a checkpoint's folder, or a server."""
    if settings.shared != "auto" or not isinstance(policy, Path):
        return settings.shared is True
    return _device(settings, policy).type != "cpu"


def placement(policy: Path | ServerAddress, settings: ModelSettings) -> dict[str, str]:
    """Where a model runs here, in which precision, and what its answers depend on: `exact`, where that is the request
    and its seed alone, or `seeded`, where it is also what shares the batch, as of most servers."""
    if isinstance(policy, ServerAddress):
        return {"device": f"server {policy.server}", "dtype": "the server's", "answers": "seeded"}
    device = _device(settings, policy)
    dtype = _dtype(settings.dtype, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    exact = device.type == "cpu" and dtype == torch.float32 and settings.block is not None
    return {"device": name, "dtype": str(dtype).removeprefix("torch."), "answers": "exact" if exact else "seeded"}


def place(model: PreTrainedModel, settings: ModelSettings) -> PreTrainedModel:
    """A small model that was made in memory, moved to the device and dtype of the settings."""
    device = _device(settings)
    return model.to(device, _dtype(settings.dtype, device))


def _is_small(policy: Path, settings: ModelSettings) -> bool:
    """Whether the weights, of adapters their base's, are so few that an accelerator would wait for them to be launched,
    as the embedded model's are."""
    base = adapters.find_base(policy, settings.base) if adapters.has_adapters(policy) else policy
    return sum(shard.stat().st_size for shard in base.glob("[!.]*.safetensors")) < SMALL


def _device(settings: ModelSettings, policy: Path | None = None) -> torch.device:
    """policy: whose size decides where it is `auto`; None: a small model that was made in memory."""
    name, there = settings.device, torch.accelerator.is_available()
    if name == "auto":
        large = there and policy is not None and not _is_small(policy, settings)
        return torch.accelerator.current_accelerator() if large else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        valid = ["auto", "cpu", *([str(torch.accelerator.current_accelerator())] if there else [])]
        raise UserError(f"model.device = {name!r}; valid here: {', '.join(valid)}") from error
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return getattr(torch, name)
