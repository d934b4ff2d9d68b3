"""Metrics: a line of JSON in the run's metrics.jsonl, and Weights & Biases unless that is disabled."""

import json
import math
import numbers
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from agent.config import Tracking


class Tracker:
    """Logs numbers and videos under a common step, which each call of `log` advances by one."""

    def __init__(self, folder: Path, settings: Tracking, config: Mapping[str, Any], step: int = 0):
        self.folder, self.step, self.run = folder, step, None
        self._muted = False
        self._file = (folder / "metrics.jsonl").open("a")
        if settings.mode != "disabled":
            import wandb  # slow to import, and unused where tracking is disabled

            self.run = wandb.init(
                project=settings.project,
                name=folder.name,
                dir=folder,
                mode=settings.mode,
                config=dict(config),
                settings=wandb.Settings(silent=True),
            )

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Log the numbers among the metrics; NaN becomes null in JSON."""
        if self._muted:
            return
        numbers_ = {k: float(v) for k, v in metrics.items() if isinstance(v, numbers.Real)}
        line = {k: v if math.isfinite(v) else None for k, v in numbers_.items()}
        self._file.write(json.dumps({"step": self.step, **line}) + "\n")
        self._file.flush()
        if self.run:
            self.run.log(numbers_, step=self.step)
        self.step += 1

    def log_tree(self, prefix: str, tree: Mapping[str, Any]) -> None:
        """Log the numbers of a nested mapping, under `prefix/key/key`."""
        self.log(dict(_leaves(prefix, tree)))

    def video(self, name: str, path: Path) -> None:
        if self.run:
            import wandb

            self.run.log({name: wandb.Video(str(path), format="mp4")}, step=self.step)

    @contextmanager
    def muted(self, muted: bool = True) -> Iterator[None]:
        """In the block, nothing is logged: what is done again was logged before."""
        self._muted = muted
        try:
            yield
        finally:
            self._muted = False

    def sync(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        if self.run:
            self.run.finish()


class TrackTraining(TrainerCallback):
    """Sends the metrics of a trl trainer to the tracker, under a prefix."""

    def __init__(self, tracker: Tracker, prefix: str):
        self.tracker, self.prefix = tracker, prefix

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self.tracker.log({f"{self.prefix}/{name}": value for name, value in (logs or {}).items()})


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{prefix}/{key}", item)
    else:
        yield prefix, value
