"""Hashes of weights and of other files. Nothing here imports torch."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def weights_sha256(policy: Path) -> str | None:
    """SHA-256 of a policy's weights, in hex: of a file, or of the *.safetensors in a checkpoint's folder.

    Several files (shards) are hashed by the lines that `sha256sum *.safetensors` prints. None without any file.
    """
    if policy.is_file():
        return file_sha256(policy)
    shards = sorted(policy.glob("*.safetensors"))
    if len(shards) == 1:
        return file_sha256(shards[0])
    return files_sha256(policy, shards) if shards else None


def files_sha256(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 of the lines that sha256sum prints for the files, in hex."""
    lines = (f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex; read in pieces, because weights may not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
