"""Files that survive a crash or a power cut: whole or absent, and on the disk before anything says that they are there.

A rename is atomic; a file's content and a folder's entries are on the disk only after an fsync of that file and of that
folder. So everything is written beside its place, synced, renamed, and its folder is synced. After Pillai et al.
(2014), "All File Systems Are Not Created Equal".
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.errors import UserError

PARTIAL = ".partial"  # suffix of what is being written; what a crash left under such a name is rubbish
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write(path: Path, data: bytes | bytearray | str) -> None:
    """Write a file whole or not at all. Raises UserError where the disk is full or fails."""
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(path.name + PARTIAL)
    with named_errors(path, len(content)):
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)


def append(path: Path, data: bytes) -> None:
    """Add to the end of a file; on the disk when this returns. A crash may leave any beginning of the data.

    Raises UserError where the disk is full or fails.
    """
    new = not path.exists()
    with named_errors(path, len(data)):
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync(path.parent)


def publish(temporary: Path, final: Path) -> None:
    """Put a finished file or folder in its place, synced. A folder in the way is deleted, a file replaced.

    Raises UserError where the disk is full or fails.
    """
    with named_errors(final):
        if temporary.is_file():
            sync(temporary)
        else:
            sync_tree(temporary)
        make(final.parent)
        if final.is_dir():
            shutil.rmtree(final)
        os.replace(temporary, final)
        sync(final.parent)


def make(folder: Path) -> None:
    """Make a folder, with those above it, unless it is there; synced.

    Raises UserError where the disk is full or fails.
    """
    with named_errors(folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:
            sync(path.parent)


def set_aside(path: Path, quarantine: Path, name: str) -> Path:
    """Move a file or folder into `quarantine`, under this name or, where it is taken, with a number; returns its new
    path. Raises UserError where the disk is full or fails."""
    make(quarantine)
    number = 0
    while (place := quarantine / (f"{name}.{number}" if number else name)).exists():
        number += 1
    with named_errors(path):
        os.rename(path, place)
        sync(quarantine)
        sync(path.parent)
    return place


def sync_tree(folder: Path) -> None:
    """Wait until all files and folders in a folder, and the folder itself, are on the disk."""
    for within, _, names in os.walk(folder):
        for name in names:
            sync(Path(within) / name)
        sync(Path(within))


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def named_errors(path: Path, size: int | None = None) -> Iterator[None]:
    """Turns a full disk and an I/O error into a UserError that names the file. size: [bytes] of what is written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            needed = "" if size is None else f"; {path.name!r} needs {size / 1e6:.1f} MB"
            raise UserError(f"no space is left for {str(path)!r}{needed}; valid: more free space") from error
        if error.errno == errno.EIO:
            raise UserError(f"{str(path)!r} cannot be written: {error.strerror}; valid: another disk") from error
        raise
