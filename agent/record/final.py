"""The record of every use of the final split: which policy was measured on it, when, and with what result."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.record.provenance import weights_sha256
from policies.base import NAMED

RECORD = "final.jsonl"


def record_final(policy: str, task: str, result: Mapping[str, Any]) -> str:
    """Append a line to `final.jsonl`; return a sentence for the terminal that says so.

    policy: as `find_policy` takes it, or a baseline's name. result: a RATE. The record lies in the checkpoint's folder
    or beside the .zip; in the working folder for a policy without a folder, or with one that cannot be written to.
    """
    path = NAMED.get(policy, Path(policy))
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": task,
        "policy": policy,
        "weights_sha256": weights_sha256(path) if path.exists() else None,
        "k": result["k"],
        "n": result["n"],
    }
    folder = path if path.is_dir() else path.parent
    record = (folder if path.exists() and os.access(folder, os.W_OK) else Path()) / RECORD
    with record.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return f"this used the final split, which is recorded in {record}"
