"""A run's folder: the paths of its files, and guards against overwriting a folder that is no run."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from agent.organise.store import EpisodeStore
from envs.errors import UserError


def check_replaceable(path: Path, overwrite: bool, kind: str, *markers: str) -> None:
    """Raises UserError for an existing path, unless `overwrite` is set and the path holds one of the files `markers`.

    A marker shows that the folder is of this kind, and not something else that must not be deleted.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{kind} {str(path)!r} exists; valid: another --out, or --overwrite")
    if path.exists() and not any((path / marker).is_file() for marker in markers):
        raise UserError(f"{str(path)!r} is no {kind} (no {' or '.join(markers)} in it): not overwritten")


def copy_folder(source: Path, destination: Path) -> None:
    """Copy all files into the destination, over those that it holds."""
    shutil.copytree(source, destination, dirs_exist_ok=True)


class RunDir:
    """`config.yaml`, `round_001/ ...`, `heldout/ ...`, `metrics.jsonl`, `results.json`."""

    def __init__(self, path: Path, overwrite: bool = False):
        """Make the folder. Raises UserError for one that exists, unless it is a run's and may be overwritten."""
        self.path = path
        if not (overwrite and path.is_dir() and not any(path.iterdir())):  # an empty folder is no loss
            check_replaceable(path, overwrite, "run folder", "config.yaml")
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)

    def round(self, number: int) -> Path:
        return self.path / f"round_{number:03d}"

    def heldout(self, name: str) -> EpisodeStore:
        """The report's episodes. name: `before` the first round, or `after` the last."""
        return EpisodeStore(self.path / "heldout" / name)

    def write_config(self, config: dict[str, Any]) -> None:
        (self.path / "config.yaml").write_text(yaml.safe_dump(plain(config), sort_keys=False))

    def write_results(self, results: dict[str, Any]) -> Path:
        """Write results.json whole or not at all; NaN and infinity become null."""
        path = self.path / "results.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(plain(results), indent=1, allow_nan=False) + "\n")
        os.replace(temporary, path)
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
