"""A run's folder: the paths of its files, and guards against overwriting a folder that is no run."""

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from agent.organise import durable
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.journal import Journal
from envs.errors import UserError

LOCK = ".lock"
QUARANTINE = "quarantine"


def check_replaceable(path: Path, overwrite: bool, kind: str, *markers: str, resumable: bool = False) -> None:
    """Raises UserError for an existing path, unless `overwrite` is set and the path holds one of the files `markers`.

    A marker shows that the folder is of this kind, and not something else that must not be deleted.
    """
    if path.exists() and not overwrite:
        resume = "--resume, " if resumable else ""
        raise UserError(f"{kind} {str(path)!r} exists; valid: {resume}another --out, or --overwrite")
    if path.exists() and not any((path / marker).is_file() for marker in markers):
        raise UserError(f"{str(path)!r} is no {kind} (no {' or '.join(markers)} in it): not overwritten")


def copy_folder(source: Path, destination: Path) -> None:
    """Copy all files into the destination, over those that it holds."""
    shutil.copytree(source, destination, dirs_exist_ok=True)


def is_complete(run: Path) -> bool:
    """Whether the folder holds the results of a run after its last round."""
    path = run / "results.json"
    return path.is_file() and json.loads(path.read_text()).get("complete", True)  # runs of before were written once


def go_on(run: Path) -> str:
    """The command that goes on with a run."""
    return shlex.join(["handeye", "improve", str(run / "config.yaml"), "--resume"])


class RunDir:
    """`config.yaml`, `journal.jsonl`, `round_001/ ...`, `heldout/ ...`, `metrics.jsonl`, `results.json`.

    Beside these `.partial/`, of stages that are under way, and `quarantine/`, what was found damaged and set aside.
    """

    def __init__(self, path: Path, overwrite: bool = False, resume: bool = False):
        """Make the folder, or go on with it, and keep other processes out until `close`, or until this process ends.

        Raises UserError for a folder that exists, unless it is resumed, or is a run's and may be overwritten; for one
        to resume that holds no run; and for one that another process writes into.
        """
        self.path = path
        if resume and not (path / JOURNAL).is_file():
            raise UserError(f"no run to resume in {str(path)!r} (no {JOURNAL}); valid: a run's folder, or no --resume")
        fresh = path.is_dir() and {entry.name for entry in path.iterdir()} <= {LOCK, JOURNAL + durable.PARTIAL}
        if not resume and not fresh:  # a folder without anything in it is no loss
            check_replaceable(path, overwrite, "run folder", "config.yaml", JOURNAL, resumable=True)
        path.mkdir(parents=True, exist_ok=True)
        durable.sync(path.parent)
        self._lock = FileLock(path / LOCK)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise UserError(f"another process writes into {str(path)!r}; valid: when it has ended") from None
        if not resume:
            self._clear()
        self.journal = Journal(path)

    def close(self) -> None:
        """Let other processes in."""
        self._lock.release()

    def _clear(self) -> None:
        """Delete what the folder holds: first what makes it a run that can be resumed, last what shows its kind."""
        order = {JOURNAL: 0, "config.yaml": 2}
        for entry in sorted(self.path.iterdir(), key=lambda entry: order.get(entry.name, 1)):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()

    @property
    def quarantine(self) -> Path:
        """Where what is damaged is set aside."""
        return self.path / QUARANTINE

    def round(self, number: int) -> Path:
        return self.path / f"round_{number:03d}"

    def heldout(self, name: str) -> Path:
        """The report's episodes. name: `before` the first round, or `after` the last."""
        return self.path / "heldout" / name

    def begin(self, config: dict[str, Any], versions: dict[str, str], provenance: dict[str, Any]) -> None:
        """Write what the run was told into the journal, unless it is there, and into config.yaml."""
        if self.journal.begun is None:
            self.journal.begin({"config": plain(config), "versions": versions, "provenance": provenance})
        durable.write(self.path / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))

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
