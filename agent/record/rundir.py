"""A run's folder: the paths of its files, its lock, and its replacement by a new run."""

import json
import math
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from subprocess import Popen
from typing import Any

import yaml
from filelock import FileLock, Timeout

from agent.organise import durable
from agent.record import ownership
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.journal import Journal
from envs.errors import UserError

LOCK = ".lock"
QUARANTINE = "quarantine"


def copy_folder(source: Path, destination: Path) -> None:
    """Copy all files but the marker into the destination, over those that it holds."""
    shutil.copytree(source, destination, dirs_exist_ok=True, ignore=shutil.ignore_patterns(ownership.MARKER))


def is_complete(run: Path) -> bool:
    """Whether the folder holds whole results of a run after its last round."""
    path = run / "results.json"
    try:
        return bool(json.loads(path.read_bytes()).get("complete", True))  # runs of before were written once
    except (OSError, ValueError, AttributeError, RecursionError):  # none, or damaged: a run that goes on writes it anew
        return False


def go_on(run: Path) -> str:
    """The command that goes on with a run."""
    return shlex.join(["handeye", "improve", str(run / "config.yaml"), "--resume"])


def retire(path: Path, why: str = ownership.REPLACED) -> Path:
    """Move a run's folder aside, that no other process writes into; returns its new path. Raises UserError where one
    does."""
    lock = _locked(path)
    try:
        return ownership.set_aside(path, why)
    finally:
        lock.release()


def _locked(path: Path) -> FileLock:
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"another process writes into {str(path)!r}; valid: when it has ended") from None
    return lock


def is_written(path: Path) -> bool:
    """Whether a process writes into a run's folder now."""
    try:
        _locked(path).release()
    except UserError:
        return True
    return False


def is_fresh(path: Path) -> bool:
    """Whether a folder holds at most what a run leaves that did not begin."""
    return path.is_dir() and {entry.name for entry in path.iterdir()} <= {LOCK, JOURNAL + durable.PARTIAL}


class RunFolder:
    """Where a run's stages lie in its folder."""

    def __init__(self, path: Path):
        self.path = path

    def round(self, number: int) -> Path:
        return self.path / f"round_{number:03d}"

    def heldout(self, name: str) -> Path:
        """The report's episodes. name: `before` the first round, or `after` the last."""
        return self.path / "heldout" / name


class RunDir(RunFolder):
    """`config.yaml`, `journal.jsonl`, `round_001/ ...`, `heldout/ ...`, `metrics.jsonl`, `results.json`.

    Beside these `.partial/`, of stages that are under way, and `quarantine/`, what was found damaged and set aside.
    """

    def __init__(self, path: Path, overwrite: bool = False, resume: bool = False):
        """Make the folder, or go on with it, and keep other processes out until `close`, or until this process ends.

        A run that is overwritten is moved aside, and deleted by `begin`, when the new one stands. Raises UserError for
        a folder that exists, unless it is resumed, or is a run's and may be overwritten; for one to resume that holds
        no run; and for one that another process writes into.
        """
        super().__init__(path)
        self._old = None
        self.follower: Popen | None = None  # a process that keeps the page of the run fresh
        if resume and not (path / JOURNAL).is_file():
            raise UserError(f"no run to resume in {str(path)!r} (no {JOURNAL}); valid: a run's folder, or no --resume")
        if not resume and not is_fresh(path):
            ownership.check_replaceable(path, overwrite, "run", resumable=True)
            if overwrite and path.is_dir():
                self._old = retire(path)
        durable.make(path.resolve())
        self._lock = _locked(path)
        if not resume:
            if not is_fresh(path):  # another process was faster
                self._lock.release()
                raise UserError(f"run folder {str(path)!r} exists; valid: --resume, another --out, or --overwrite")
            (path / (JOURNAL + durable.PARTIAL)).unlink(missing_ok=True)
        self.journal = Journal(path)

    def close(self) -> None:
        """Let other processes in."""
        self._lock.release()

    @property
    def quarantine(self) -> Path:
        """Where what is damaged is set aside."""
        return self.path / QUARANTINE

    def begin(self, config: dict[str, Any], versions: dict[str, str], provenance: dict[str, Any]) -> None:
        """Write what the run was told into the journal, unless it is there, and into config.yaml. The run that it
        replaces is deleted then."""
        if self.journal.begun is None:
            self.journal.begin({"config": plain(config), "versions": versions, "provenance": provenance})
        durable.write(self.path / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))
        if self._old:
            ownership.remove(self._old)
            self._old = None

    def write_results(self, results: dict[str, Any]) -> Path:
        """Write results.json whole or not at all; NaN and infinity become null."""
        path = self.path / "results.json"
        durable.write(path, json.dumps(plain(results), indent=1, allow_nan=False) + "\n")
        return path


def plain(value: Any) -> Any:
    """The value with tuples as lists and NaN or infinity as None, for YAML and JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The leaves that differ, by their dotted keys, as `key = new (was old)`; empty where none does."""
    old, new = flat(was), flat(now)
    other = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} = {new.get(key)!r} (was {old.get(key)!r})" for key in other)


def flat(tree: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """The keys on the way to each leaf of nested mappings, joined -> the leaf."""
    leaves = {}
    for key, value in tree.items():
        below = flat(value, separator) if isinstance(value, Mapping) else {"": value}
        leaves |= {f"{key}{separator}{name}" if name else key: leaf for name, leaf in below.items()}
    return leaves
