"""Hashes of weights and of other files, and errors of the libraries that write them. Nothing here imports torch."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path


def weights_sha256(policy: Path) -> str | None:
    """SHA-256 of a policy's weights, in hex: of a file, or of the *.safetensors in a checkpoint's folder.

    Several files (shards) are hashed by the lines that `sha256sum *.safetensors` prints. None without any file. Files
    that do not change are read once a process: a base of several GB is asked for often.
    """
    if policy.is_file():
        return file_sha256(policy)
    shards = sorted(policy.glob("[!.]*.safetensors"))  # not macOS's `._model.safetensors`
    stamps = tuple((shard.name, shard.stat().st_size, shard.stat().st_mtime_ns) for shard in shards)
    return _shards_sha256(policy.resolve(), stamps) if shards else None


@lru_cache
def _shards_sha256(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """stamps: name, size and time of each file, so that other files are other arguments."""
    shards = [folder / name for name, *_ in stamps]
    return file_sha256(shards[0]) if len(shards) == 1 else files_sha256(folder, shards)


def files_sha256(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 of the lines that sha256sum prints for the files, in hex."""
    lines = (f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex; read in pieces, because weights may not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def os_error(error: Exception) -> int | None:
    """The errno in the message of an error of safetensors or tokenizers, which are written in Rust; None without one.

    For a full disk they raise a class of their own, or a bare Exception: `... (os error 28)`.
    """
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """In the block, such an error is raised as the OSError that it is. path: what is being written."""
    try:
        yield
    except Exception as error:  # tokenizers has no class of its own
        number = os_error(error)
        if number is None or isinstance(error, OSError):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
