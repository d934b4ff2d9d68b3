"""Folders that this project made, and may therefore replace: each carries a marker with an id.

A run's folder is marked by its journal, whose records carry checksums. Every other folder that `--overwrite` may
replace holds the file MARKER. A stranger's folder has neither, whatever its files are called, and is never deleted.

A folder is replaced in three steps: the old one is renamed, the new one takes its place, the old one is deleted. A
crash between them leaves the old one under the other name; `check_replaceable` names it at the next start.
"""

import json
import os
import secrets
import shutil
import uuid
from pathlib import Path

from agent.organise import durable
from agent.record.console import console
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.journal import is_journal
from envs.errors import UserError

MARKER = ".handeye.json"  # {"kind": one of KINDS, "id": a UUID, "schema": 1}
SCHEMA = 1
KINDS = {
    "run": "run folder",
    "checkpoint": "checkpoint folder",
    "baseline": "baseline's folder",
    "export": "exported dataset",
}
REPLACED, STALE = "replaced", "stale"  # why a folder was moved aside


def mark(folder: Path, kind: str) -> None:
    """Write the marker into a folder that was just made. Raises UserError where the disk is full or fails."""
    durable.write(folder / MARKER, json.dumps({"kind": kind, "id": str(uuid.uuid4()), "schema": SCHEMA}) + "\n")


def kind_of(folder: Path) -> str | None:
    """Which of KINDS a folder is by its own marker; None for one without, or whose marker is none of ours."""
    try:
        marker = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError, RecursionError):
        return "run" if is_journal(folder / JOURNAL) else None
    if not isinstance(marker, dict) or marker.get("schema") != SCHEMA or marker.get("kind") not in (*KINDS,):
        return None
    try:
        uuid.UUID(marker.get("id"))
    except (ValueError, AttributeError, TypeError):
        return None
    return marker["kind"]


def check_replaceable(path: Path, overwrite: bool, kind: str, resumable: bool = False) -> None:
    """Raises UserError for a path that exists, unless it is an empty folder, or `overwrite` is set and the folder is
    marked as one of this kind. Names what a crash left of an earlier replacement."""
    for aside in leftovers(path):
        line = f"{str(aside)!r} is what was to be replaced by {str(path)!r} before a crash; move it back, or delete it"
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if kind == "checkpoint" and scratch(path).exists():
        _check_kind(scratch(path), kind)
    if path.exists() and not path.is_dir():
        raise UserError(f"{str(path)!r} is no folder; valid: a folder, which need not exist")
    if not path.exists() or not any(path.iterdir()):
        return
    if not overwrite:
        resume = "--resume, " if resumable else ""
        raise UserError(f"{KINDS[kind]} {str(path)!r} exists; valid: {resume}another --out, or --overwrite")
    _check_kind(path, kind)
    if Path.cwd().is_relative_to(path.resolve()):
        raise UserError(f"{str(path)!r} holds the working folder; valid: --overwrite from elsewhere, or another --out")


def _check_kind(path: Path, kind: str) -> None:
    if kind_of(path) != kind:
        marker = JOURNAL if kind == "run" else MARKER
        message = f"{str(path)!r} is no {KINDS[kind]} with our marker (a whole {marker} in it): not overwritten"
        raise UserError(f"{message}; valid: another --out, or first delete it yourself")


def scratch(out: Path) -> Path:
    """The folder `<out>.tmp`, in which what becomes `out` is made."""
    whole = out.resolve()
    return out.parent / f"{whole.name}.tmp" if out.name else whole.with_name(f"{whole.name}.tmp")


def begin(folder: Path, kind: str) -> None:
    """Make an empty folder with its marker. What an earlier try left there is deleted; raises UserError for what is not
    ours."""
    if folder.exists():
        _check_kind(folder, kind)
        remove(folder)
    durable.make(folder)
    mark(folder, kind)


def replace(fresh: Path, out: Path) -> None:
    """Put a finished folder, which is marked, in its place. What `check_replaceable` found there is moved aside first,
    and deleted when the new folder stands. Raises UserError where the disk is full or fails."""
    place = out.resolve()
    with durable.named_errors(out):
        durable.sync_tree(fresh)
        durable.make(place.parent)
        old = set_aside(place) if place.exists() else None
        os.rename(fresh, place)
        durable.sync(place.parent)
    if old:
        remove(old)


def set_aside(path: Path, why: str = REPLACED) -> Path:
    """Rename a folder, to a hidden name beside it; returns its new path. Raises UserError where that cannot be done."""
    whole = path.resolve()
    aside = whole.with_name(f".{whole.name}.{why}-{secrets.token_hex(4)}")
    try:
        with durable.named_errors(path):
            os.rename(whole, aside)
            durable.sync(whole.parent)
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be moved aside: {error.strerror}; valid: another --out") from error
    return aside


def leftovers(path: Path) -> list[Path]:
    """What a crash left aside of earlier replacements of a folder."""
    whole = path.resolve()
    begins = f".{whole.name}.{REPLACED}-"
    return sorted(p for p in whole.parent.iterdir() if p.name.startswith(begins)) if whole.parent.is_dir() else []


def remove(folder: Path) -> None:
    """Delete a folder of ours, what shows its kind last: a crash leaves it ours."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name in (MARKER, JOURNAL)):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    folder.rmdir()
