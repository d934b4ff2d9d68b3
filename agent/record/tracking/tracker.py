"""Metrics: a line of JSON in the run's metrics.jsonl, and in each sink that the config names.

A sink never ends a run: what it raises is one line, and metrics.jsonl goes on alone.
"""

import json
import math
import numbers
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.config import Tracking
from agent.organise import durable
from agent.record.console import say
from agent.record.rundir import flat
from agent.record.tracking.job import Artifact, TrackedJob
from agent.record.tracking.sinks import Sinks
from agent.record.tracking.tables import Rows


class Tracker:
    """Logs numbers, videos, tables and artifacts under a common step, which each call of `log` advances by one.

    A run that is resumed begins at the step that its last finished stage ended with. Later lines in metrics.jsonl are
    of a stage that is done again; its lines are the same, but for timings, and each sink gets each line once.

    axes: the values of x-axes, added to each line. latest: the latest value of each metric.
    """

    def __init__(
        self,
        folder: Path,
        settings: Tracking,
        config: Mapping[str, Any],
        step: int = 0,
        job: TrackedJob | None = None,
        axes: Callable[[], Mapping[str, float]] = dict,
    ):
        """Cuts metrics.jsonl to the lines before `step`."""
        self.folder, self.step, self.axes = folder, step, axes
        self.films, self.artifacts = settings.films, settings.artifacts
        self._path = folder / "metrics.jsonl"
        kept = _cut(self._path, step)
        self.latest: dict[str, float | None] = {name: value for line in kept for name, value in line.items()}
        self._file, self._muted = self._path.open("a"), False
        self._sinks = Sinks(folder, settings, config, job or TrackedJob(), kept)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Log the numbers among the metrics; NaN and infinity become null."""
        if self._muted:
            return
        numbers_ = {k: float(v) for k, v in {**self.axes(), **metrics}.items() if isinstance(v, numbers.Real)}
        line = {"step": self.step} | {k: v if math.isfinite(v) else None for k, v in numbers_.items()}
        with durable.named_errors(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        self._sinks.each(lambda sink: sink.log(line))
        self.latest |= line
        self.step += 1

    def log_tree(self, prefix: str, tree: Mapping[str, Any]) -> None:
        """Log the numbers of a nested mapping, under `prefix/key/key`."""
        self.log({f"{prefix}/{name}": value for name, value in flat(tree, "/").items()})

    def video(self, name: str, path: Path) -> None:
        """Send a video with the next line."""
        if not self._muted:
            self._sinks.each(lambda sink: sink.video(name, path, self.step))

    def table(self, name: str, rows: Callable[[Path], Rows]) -> None:
        """Send a table with the next line. rows: makes it, and may write its films into the folder that it is given."""
        if self._muted or not self._sinks.tables:
            return
        with TemporaryDirectory() as scratch:
            made = rows(Path(scratch))
            self._sinks.each(lambda sink: sink.table(name, made, self.step))

    def artifact(self, artifact: Artifact) -> None:
        """Send an artifact with the next line, unless the settings ask for none."""
        if not self._muted and self.artifacts != "none":
            self._sinks.each(lambda sink: sink.artifact(artifact, self.step))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set numbers and texts that describe the run as a whole."""
        if not self._muted:
            self._sinks.each(lambda sink: sink.summary(values))

    def sync(self) -> None:
        """Wait until the lines of metrics.jsonl are on the disk."""
        with durable.named_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            durable.sync(self.folder)

    @contextmanager
    def muted(self, muted: bool = True) -> Iterator[None]:
        """In the block, nothing is logged: what is done again was logged before."""
        self._muted = muted
        try:
            yield
        finally:
            self._muted = False

    def close(self) -> None:
        self._file.close()
        self._sinks.close()


def _cut(path: Path, step: int) -> list[dict[str, Any]]:
    """Cut metrics.jsonl to the whole lines before a step, and return them. Says how many are missing or damaged."""
    found = path.read_bytes() if path.exists() else b""
    kept, lines, last = b"", [], -1
    for text in found.splitlines(keepends=True):
        line = _parsed(text)
        if line and last < line["step"] < step:
            kept, last = kept + text, line["step"]
            lines.append(line)
    if kept != found:
        durable.write(path, kept)
    if len(lines) < step:
        lost = f"{path}: {step - len(lines)} of {step} lines are missing or damaged; the run goes on without them"
        say(lost)
    return lines


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for one that is not whole."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    whole = text.endswith(b"\n") and isinstance(line, dict) and type(line.get("step")) is int
    return line if whole else None
