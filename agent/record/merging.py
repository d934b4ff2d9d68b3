"""Adapters and their base as one whole model, which plain transformers loads."""

import json
from dataclasses import replace
from pathlib import Path

from agent.record import ownership
from agent.record.provenance import sign
from envs.errors import UserError
from policies.backends.adapters.folder import PEFT_CONFIG, find_base, has_adapters, read_base
from policies.backends.settings import ModelSettings


def merge(checkpoint: Path, out: Path, overwrite: bool = False, settings: ModelSettings | None = None) -> Path:
    """Merge the adapters in a checkpoint's folder into their base, into the folder `out`, which appears when whole.

    The sum is made in float32, unless the settings name another dtype, and saved in the base's own dtype. Raises
    UserError for a checkpoint without adapters, and for an `out` that exists, unless it is a checkpoint's folder and
    may be overwritten.
    """
    import torch  # only needed here
    from transformers import AutoConfig

    from policies.backends.adapters import lora
    from policies.backends.loading import load_backend

    settings = settings or ModelSettings()
    if not has_adapters(checkpoint):
        raise UserError(f"{str(checkpoint)!r} has no adapters: it is whole already; valid: a folder with {PEFT_CONFIG}")
    base = find_base(checkpoint, settings.base)
    for needed in (checkpoint, base):
        if out.resolve() == needed.resolve() or needed.resolve().is_relative_to(out.resolve()):
            raise UserError(f"{str(out)!r} holds what is merged, {str(needed)!r}; valid: another folder")
    ownership.check_replaceable(out, overwrite, "checkpoint")
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    backend = load_backend(checkpoint, replace(settings, dtype=dtype, quantise="none"))
    config = AutoConfig.from_pretrained(base, trust_remote_code=settings.trust_remote_code)
    backend.model = lora.merged(backend.model).to(config.dtype or torch.float32)
    fresh = ownership.scratch(out)
    ownership.begin(fresh, "checkpoint")
    backend.save(fresh)
    sign(fresh, checkpoint, stage="merge", base=read_base(checkpoint))
    ownership.replace(fresh, out)
    return out


def base_of(folder: Path) -> str | None:
    """The name of the base of a checkpoint that has adapters, or is merged of them; None for any other."""
    if has_adapters(folder):
        return read_base(folder)["base"]
    provenance = folder / "provenance.json"
    record = json.loads(provenance.read_text()) if provenance.is_file() else {}
    return record.get("base", {}).get("base")
