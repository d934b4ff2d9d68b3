"""The record of every use of the final split: who was measured on it, when, and with what result."""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RECORD = "final.jsonl"


def record_final(policy: str, task: str, result: Mapping[str, Any]) -> str:
    """Append a line to `final.jsonl` and return a sentence for people that says so.

    policy: a checkpoint folder, a .zip, or a baseline's name. The record lies in the checkpoint folder, or beside the
    .zip, or in the working folder for a policy without a folder or one that cannot be written to. result: k of n.
    """
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "task": task, "policy": policy}
    line |= {"sha256": _sha256(Path(policy)), "k": result["k"], "n": result["n"]}
    record = _folder(Path(policy)) / RECORD
    with record.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return f"the final split was used, which is recorded in {record}"


def _folder(policy: Path) -> Path:
    folder = policy if policy.is_dir() else policy.parent
    return folder if policy.exists() and os.access(folder, os.W_OK) else Path()


def _sha256(policy: Path) -> str | None:
    """Of the policy's weights; None for one without any."""
    weights = policy / "model.safetensors" if policy.is_dir() else policy
    return hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None
