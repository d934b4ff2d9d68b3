"""A run's folder: where its files lie, and guards against overwriting anything that is no run."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from agent.organise.store import EpisodeStore
from envs.errors import UserError


def check_replaceable(path: Path, overwrite: bool, kind: str, marker: str) -> None:
    """Raises UserError for an existing path, unless `overwrite` is set and `marker`, a file of this kind, is in it."""
    if path.exists() and not overwrite:
        raise UserError(f"{kind} {str(path)!r} exists; valid: another --out, or --overwrite")
    if path.exists() and not (path / marker).is_file():
        raise UserError(f"{str(path)!r} is no {kind} (no {marker} in it): not overwritten")


def copy_folder(source: Path, destination: Path) -> None:
    """A copy of all files, over what the destination holds."""
    shutil.copytree(source, destination, dirs_exist_ok=True)


class RunDir:
    """`config.yaml`, `round_001/ ...`, `heldout/ ...`, `metrics.jsonl`, `results.json`."""

    def __init__(self, path: Path, overwrite: bool = False):
        """Raises UserError for a folder that exists, unless it is a run's and may be overwritten."""
        self.path = path
        if not (overwrite and path.is_dir() and not any(path.iterdir())):  # an empty folder is no loss
            check_replaceable(path, overwrite, "run folder", "config.yaml")
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)

    def round(self, number: int) -> Path:
        return self.path / f"round_{number:03d}"

    def heldout(self, name: str) -> EpisodeStore:
        """The report's episodes: `before` the first round, or `after` the last."""
        return EpisodeStore(self.path / "heldout" / name)

    def write_config(self, config: dict[str, Any]) -> None:
        (self.path / "config.yaml").write_text(yaml.safe_dump(_plain(config), sort_keys=False))

    def write_results(self, results: dict[str, Any]) -> Path:
        """Whole or not at all; NaN becomes null."""
        path = self.path / "results.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(_plain(results), indent=1, allow_nan=False) + "\n")
        os.replace(temporary, path)
        return path


def _plain(value: Any) -> Any:
    """Mappings, lists and scalars that YAML and JSON know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
