"""LoRA (Hu et al., 2021) by peft: adapters added to a model, loaded over it, saved without it, merged into it.

The adapter that acts and is trained is peft's `default`. trl's DPO adds `ref`, its frozen copy before training.
"""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from transformers import PreTrainedModel

from envs.errors import UserError
from policies.backends.adapters import folder
from policies.backends.settings import Lora

ADAPTER = "default"
NAMED = 3  # at most, of the tensors at fault


def is_adapted(model: torch.nn.Module) -> bool:
    return isinstance(model, PeftModel)


def add(model: PreTrainedModel, lora: Lora, seed: int = 0) -> PeftModel:
    """New adapters, which change nothing yet: half of their weights are drawn with `seed`, the other half is zero.

    Raises UserError for a model that was not loaded from a folder, and for `modules_to_save` that it does not have.
    """
    _base_of(model)
    for name in lora.modules_to_save:
        if not any(part == name or part.endswith(f".{name}") for part, _ in model.named_modules()):
            valid = sorted({part.rpartition(".")[2] for part, _ in model.named_modules() if part.count(".") == 1})
            raise UserError(f"model.lora.modules_to_save = {name!r} is no module; valid: such as {', '.join(valid)}")
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(model, lora.targets),
        modules_to_save=list(lora.modules_to_save) or None,
        task_type="CAUSAL_LM",
    )
    with _seeded(seed), _quiet():
        return get_peft_model(model, config)


def load(model: PreTrainedModel, path: Path, lora: Lora | None = None) -> PeftModel:
    """The adapters in a folder, over their base; they can be trained further.

    lora: what the config asks for; only its dropout may differ from what the adapters have. Raises UserError for that,
    for adapters of another kind, and for tensors that are missing or not finite.
    """
    config = _config(path)
    if lora:
        _check_same(lora, config)
        config.lora_dropout = lora.dropout
    with _quiet():
        adapted = PeftModel.from_pretrained(model, path, config=config, is_trainable=True)
    if lora and lora.targets != _targets_of(adapted):
        raise UserError(f"model.lora.targets = {lora.targets!r}, and its adapters are on other layers; valid: no lora")
    _check_tensors(adapted, path, ADAPTER)
    return adapted


def load_beside(model: PreTrainedModel | PeftModel, path: Path, name: str) -> PeftModel:
    """The adapters in a folder under a name, over a model that may have others, to act with and not to train.

    name: without a dot. Raises UserError as `load` does, and what peft raises; the model is then as it was before.
    """
    config = _config(path)
    with _quiet(), ExitStack() as undo:
        if isinstance(model, PeftModel):
            model.add_adapter(name, config)
        else:
            model = get_peft_model(model, config, name)
        undo.callback(remove, model, name)
        model.load_adapter(path, name)
        _check_tensors(model, path, name)
        undo.pop_all()
    return model


def remove(model: PeftModel, name: str) -> None:
    """Delete adapters. The last ones are taken off the model, which is that of before from then on."""
    if set(model.peft_config) == {name}:
        model.unload()
    else:
        with _quiet():
            model.delete_adapter(name)


def _config(path: Path) -> LoraConfig:
    config = PeftConfig.from_pretrained(path)
    if not isinstance(config, LoraConfig):
        raise UserError(f"adapters of the kind {config.peft_type}; valid: LORA")
    return config


def _check_tensors(model: PeftModel, path: Path, name: str) -> None:
    """Raises UserError for tensors of the adapters of this name that are missing from their folder, or not finite."""
    held = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    with safe_open(path / folder.WEIGHTS, "pt") as saved:
        missing = sorted(set(held) - set(saved.keys()))
    if missing:
        raise UserError(f"{len(missing)} tensors of the adapters are missing: {', '.join(missing[:NAMED])}")
    bad = [key for key, tensor in held.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise UserError(f"{len(bad)} tensors of the adapters are not finite: {', '.join(bad[:NAMED])}")


def save(model: PeftModel, path: Path) -> None:
    """The adapters, their settings, and the name and hash of their base; nothing of the base itself, nor of `ref`."""
    base, config = _base_of(model.get_base_model()), model.peft_config[ADAPTER]
    config.base_model_name_or_path = folder.base_name(base)
    model.save_pretrained(path, selected_adapters=[ADAPTER], save_embedding_layers=False)
    (path / "README.md").unlink()  # peft's form for a model card, empty; ours is written by `handeye push`
    settings = {
        "r": config.r,
        "alpha": config.lora_alpha,
        "dropout": config.lora_dropout,
        "targets": _targets_of(model),
        "modules_to_save": sorted(config.modules_to_save or ()),
    }
    folder.write_base(path, base, settings)


def merged(model: PeftModel) -> PreTrainedModel:
    """The base with the adapters added to its weights, in place. Raises ValueError where that gives NaN."""
    return model.merge_and_unload(safe_merge=True, adapter_names=[ADAPTER])


def _targets(model: PreTrainedModel, targets: str) -> list[str]:
    """Full names of the linear layers that get adapters; never the output head, whose loss trl computes without it."""
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    if targets == "decoder":
        prefix = _decoder(model)
        return [name for name in linear if name.startswith(prefix)]
    head = model.get_output_embeddings()
    return [name for name in linear if model.get_submodule(name) is not head]


def _targets_of(model: PeftModel) -> str:
    """`decoder` where all adapters are on its layers, else `all`."""
    prefix = _decoder(model.get_base_model())
    return "decoder" if all(name.startswith(prefix) for name in model.base_model.targeted_module_names) else "all"


def _decoder(model: PreTrainedModel) -> str:
    """What the names of the language model's parts begin with."""
    decoder = model.get_decoder()
    return next(f"{name}." for name, module in model.named_modules() if module is decoder)


def _check_same(lora: Lora, config: LoraConfig) -> None:
    saved = {"r": config.r, "alpha": config.lora_alpha, "modules_to_save": tuple(sorted(config.modules_to_save or ()))}
    asked = {"r": lora.r, "alpha": lora.alpha, "modules_to_save": tuple(sorted(lora.modules_to_save))}
    for name, value in asked.items():
        if value != saved[name]:
            valid = f"valid: {saved[name]}, or no model.lora"
            raise UserError(f"model.lora.{name} = {value}, and its adapters have {saved[name]}; {valid}")


def _base_of(model: PreTrainedModel) -> Path:
    """The folder that the model was loaded from. Raises UserError for one that was made in memory."""
    if not model.name_or_path or not Path(model.name_or_path).is_dir():
        raise UserError("adapters need a base in a folder; valid: a policy or start that is a checkpoint")
    return Path(model.name_or_path)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's generators, seeded within and as before after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that peft asks transformers by an older name, and which adapter it makes active after one is
    deleted; nobody else can heed them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", "Adapter .* was active which is now deleted", UserWarning)
        yield
