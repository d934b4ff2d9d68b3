"""Where a command writes: found out before anything long starts, and nothing of it is left."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from envs.errors import UserError

MB = 10**6  # [bytes]
STDOUT = Path("-")  # of `--json`
_stdout: list[int] = []  # a copy of the standard output's descriptor, while that is the standard error's


def document(path: Path | None) -> Path | None:
    """Where `--json` writes: STDOUT, or a file, as `file`."""
    return path if path in (None, STDOUT) else file(path, needs_mb=1)


def emit(where: Path | None, value: Any) -> None:
    """Write a JSON document to what `document` gave, if anything; NaN and infinity become null."""
    if where is None:
        return
    from agent.organise import durable
    from agent.record.rundir import plain

    text = json.dumps(plain(value), indent=1, allow_nan=False, default=str) + "\n"
    if where != STDOUT:
        durable.make(where.parent)
        durable.write(where, text)
        return
    with open(os.dup(_stdout[-1] if _stdout else 1), "w") as stdout:
        stdout.write(text)


@contextmanager
def stdout_for_json(alone: bool) -> Iterator[None]:
    """In the block, what `emit` writes is all that the standard output gets; the rest goes to the standard error, that
    of worker processes too."""
    if not alone:
        yield
        return
    sys.stdout.flush()
    _stdout.append(os.dup(1))
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(_stdout[-1], 1)
        os.close(_stdout.pop())


@contextmanager
def telling_how_to_go_on(command: Callable[[], str]) -> Iterator[None]:
    """What ends the block early is followed by the command that goes on, where there is one."""
    from agent.record.console import console

    try:
        yield
    except (UserError, KeyboardInterrupt):
        if line := command():
            console.print(f"to go on: {line}", soft_wrap=True, markup=False)
        raise


def folder(path: Path | str, needs_mb: float = 0) -> Path:
    """A folder to write into, which need not exist: the path with `~` expanded, a link followed.

    needs_mb: about how much is written. Raises UserError for what is no folder, for a place where nothing can be
    written, and for too little free space.
    """
    with _named(path):
        place = _expanded(path)
        if place.exists() and not place.is_dir():
            kind = "file" if place.is_file() else "device"
            raise UserError(f"{str(path)!r} is a {kind}; valid: a folder, which need not exist")
        _probe(path, place if place.is_dir() else place.parent, needs_mb)
        return place


def file(path: Path | str, needs_mb: float = 0) -> Path:
    """A file to write, as `folder`. Raises UserError for a folder and a device too."""
    with _named(path):
        place = _expanded(path)
        if place.exists() and not place.is_file():
            kind = "folder" if place.is_dir() else "device"
            raise UserError(f"{str(path)!r} is a {kind}; valid: a file, which need not exist")
        if place.is_file():
            with place.open("ab"):
                pass
        _probe(path, place.parent, needs_mb)
        return place


def _expanded(path: Path | str) -> Path:
    if "\0" in str(path):
        raise ValueError("it has a null character")
    place = Path(path).expanduser()
    return place.resolve() if place.is_symlink() else place


def _probe(path: Path | str, within: Path, needs_mb: float) -> None:
    """Write a file into the nearest folder that exists, and delete it."""
    there = next(p for p in (within, *within.absolute().parents) if p.exists())
    if not there.is_dir():
        raise UserError(f"{str(path)!r} lies below {str(there)!r}, which is no folder; valid: another place")
    with tempfile.TemporaryFile(dir=there) as probed:
        probed.write(b"0")
        probed.flush()
    free = shutil.disk_usage(there).free / MB
    if free < needs_mb:
        raise UserError(f"{str(path)!r} needs about {needs_mb:.0f} MB, {free:.0f} MB are free; valid: more free space")


@contextmanager
def _named(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be written: {error.strerror}; valid: another place") from error
    except (RuntimeError, ValueError) as error:  # no home folder, a loop of links; a character that no name has
        raise UserError(f"{str(path)!r} cannot be written: {error}; valid: another place") from error
