"""TensorBoard's event files of a run folder, in `tensorboard/`: `tensorboard --logdir runs`."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from agent.config import Tracking
from agent.record.tracking.axes import STEP, axis_of, is_axis
from agent.record.tracking.job import TrackedJob
from agent.record.tracking.sinks import Line, Scalars

FOLDER = "tensorboard"


class TensorBoard(Scalars):
    """Numbers under the names of metrics.jsonl, each over its own x-axis.

    A run that is resumed writes the folder anew from metrics.jsonl, so that no number is there twice.
    """

    def __init__(self, folder: Path, settings: Tracking, config: Mapping[str, Any], job: TrackedJob):
        from torch.utils.tensorboard import SummaryWriter

        place = folder / FOLDER
        if place.exists():
            shutil.rmtree(place)
        self._writer = SummaryWriter(str(place))
        self._writer.add_text("config", f"```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}```", 0)
        if job.command:
            self._writer.add_text("command", f"```\n{job.command}\n```", 0)

    def log(self, line: Line) -> None:
        for name, value in line.items():
            if not is_axis(name):
                at = line[axis_of(name, line)]
                step = int(line[STEP] if at is None else at)
                self._writer.add_scalar(name, math.nan if value is None else value, step)

    def close(self) -> None:
        self._writer.close()
