"""A folder of adapters: their base is another folder, named by path or hub id and known by its hash.

Beside peft's two files lies `adapter_base.json`. Nothing here imports torch.
"""

import json
import logging
from pathlib import Path
from typing import Any

from envs.errors import UserError, shown
from policies.backends.adapters.weights import weights_sha256
from policies.backends.checkpoint.records import read_json
from policies.base import find_policy

PEFT_CONFIG = "adapter_config.json"  # peft's
WEIGHTS = "adapter_model.safetensors"  # peft's
BASE = "adapter_base.json"  # ours: {"base": name, "weights_sha256": hex, "lora": {...}}
log = logging.getLogger("handeye")


def has_adapters(folder: Path) -> bool:
    """Whether the folder holds adapters instead of a whole model."""
    return (folder / PEFT_CONFIG).is_file()


def base_name(folder: Path) -> str:
    """What a base is recorded as: a model from a hub by its name there, `owner/model`, any other by its whole path."""
    for part in folder.parts:  # a snapshot in a cache lies at models--owner--model/snapshots/REVISION
        kind, *names = part.split("--")
        if kind == "models" and len(names) == 2:
            return "/".join(names)
    return str(folder.resolve())


def write_base(folder: Path, base: Path, lora: dict[str, Any]) -> None:
    """Record the base of the adapters in a folder, by name and hash, and the settings that they were made with."""
    record = {"base": base_name(base), "weights_sha256": weights_sha256(base), "lora": lora}
    (folder / BASE).write_text(json.dumps(record, indent=1) + "\n")


def read_base(folder: Path) -> dict[str, Any]:
    """The record of the base: `base`, its name, and `weights_sha256`, None in a folder that others wrote."""
    if (folder / BASE).is_file():
        record, key = read_json(folder / BASE), "base"
    else:
        record, key = read_json(folder / PEFT_CONFIG), "base_model_name_or_path"
    name, sha256 = record.get(key) or "", record.get("weights_sha256")
    if not isinstance(name, str) or not isinstance(sha256, str | None):
        raise UserError(f"its adapters have the base {shown(name, 60)} of SHA-256 {shown(sha256, 60)}; valid: texts")
    return record | {"base": name, "weights_sha256": sha256}


def whole_modules(folder: Path) -> tuple[str, ...]:
    """Parts of the model that were trained whole beside the adapters, and so lie in their folder."""
    names = read_json(folder / PEFT_CONFIG).get("modules_to_save") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{PEFT_CONFIG} has modules_to_save = {shown(names, 60)}; valid: a list of names")
    return tuple(names)


def find_base(folder: Path, moved: str | None = None) -> Path:
    """The folder of the base under the adapters in a folder.

    moved: where the base is, if not where it was. Raises UserError for a base that is not there, and for one with other
    weights than the adapters were trained on.
    """
    record = read_base(folder)
    name = moved or record["base"]
    try:
        base = find_policy(name)
    except UserError as error:
        raise UserError(f"the base of its adapters is not here: {error}; or where it is now, as model.base") from error
    if has_adapters(base):
        raise UserError(f"the base of its adapters, {name!r}, holds adapters itself; valid: a whole model")
    there = weights_sha256(base)
    if record["weights_sha256"] is None:
        log.warning(f"no hash of the base is recorded in {str(folder)!r}: {name!r} is taken as it is")
    elif there != record["weights_sha256"]:
        raise UserError(
            f"the base {name!r} has other weights (SHA-256 {str(there)[:12]}) than its adapters were trained on "
            f"({record['weights_sha256'][:12]}); valid: those weights, or where they are, as model.base"
        )
    return base
