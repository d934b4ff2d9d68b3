"""Checkpoints for workers on other machines: by their path where they see it, else a copy through the object store.

A checkpoint is known by its mark. A worker that finds another folder at the path, or none, asks the run's process for
the files. These are put into Ray's object store once a checkpoint, and go once to each machine.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.collect.processes.serving import Question, here

KEPT = 8  # copies on a machine; the one that was used longest ago goes first

_marks: Mapping[Path, str] = {}  # of the call that is answered


@dataclass(frozen=True)
class Missing(Question):
    """A worker's question: the files of this checkpoint. The reply is the path of a folder that holds them."""

    checkpoint: Path


@dataclass(frozen=True)
class Files:
    """A checkpoint's files by their path in its folder."""

    mark: str
    contents: Mapping[str, bytes]

    @classmethod
    def of(cls, checkpoint: Path) -> "Files":
        return cls(mark(checkpoint), {str(p.relative_to(checkpoint)): p.read_bytes() for p in _files(checkpoint)})

    def unpacked(self) -> Path:
        """The folder of a copy on this machine, which its workers share."""
        folder = copies() / self.mark
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(dir=copies(), prefix="."))
            for name, content in self.contents.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(content)
            try:
                partial.rename(folder)
            except OSError:  # another worker was faster
                shutil.rmtree(partial)
        os.utime(folder)
        used = sorted((p for p in copies().iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime)
        for old in used[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)  # another worker may be at it
        return folder


def copies() -> Path:
    """The folder of the copies on this machine, of this user."""
    folder = Path(tempfile.gettempdir()) / f"handeye-checkpoints-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def mark(checkpoint: Path) -> str:
    """Of names, sizes and times of change: equal on machines that see one file system, and quick to take."""
    found = [(str(p.relative_to(checkpoint)), p.stat().st_size, p.stat().st_mtime_ns) for p in _files(checkpoint)]
    return hashlib.sha256(repr(found).encode()).hexdigest()[:32]


def _files(checkpoint: Path) -> list[Path]:
    return sorted(p for p in checkpoint.rglob("*") if p.is_file())


@contextmanager
def marked(marks: Mapping[Path, str]) -> Iterator[None]:
    """In the block, this worker knows the marks of the checkpoints that its call reads."""
    global _marks
    _marks = marks
    try:
        yield
    finally:
        _marks = {}


def found(checkpoint: Path) -> Path:
    """The checkpoint's folder, or in a worker that does not see it a copy."""
    if checkpoint not in _marks or mark(checkpoint) == _marks[checkpoint]:
        return checkpoint
    copy = copies() / _marks[checkpoint]
    if copy.exists():  # it came for an earlier call, and a copy is there whole or not at all
        os.utime(copy)
        return copy
    connection, pulse = here()
    connection.send(Missing(checkpoint))
    copy = connection.recv()
    pulse.beat()
    return copy
