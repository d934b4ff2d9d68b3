"""Metrics: a line of JSON in the run's metrics.jsonl, and Weights & Biases unless that is disabled.

Weights & Biases never ends a run: what it raises is one line, and metrics.jsonl goes on alone.
"""

import json
import math
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from agent.config import Tracking
from agent.organise import durable
from agent.record.console import console
from agent.record.rundir import flat
from envs.errors import first_line


class Tracker:
    """Logs numbers and videos under a common step, which each call of `log` advances by one.

    A run that is resumed begins at the step that its last finished stage ended with. Later lines in metrics.jsonl are
    of a stage that is done again; its lines are the same, but for timings, and W&B gets each line once.
    """

    def __init__(self, folder: Path, settings: Tracking, config: Mapping[str, Any], step: int = 0):
        """Cuts metrics.jsonl to the lines before `step`."""
        self.folder, self.step, self.run = folder, step, None
        self._path = folder / "metrics.jsonl"
        kept = _cut(self._path, step)
        self._file, self._muted = self._path.open("a"), False
        self._failed = False  # of W&B
        if settings.mode != "disabled":
            self._guarded(lambda: self._begin(settings, config, kept))

    def _begin(self, settings: Tracking, config: Mapping[str, Any], kept: Iterable[Mapping[str, Any]]) -> None:
        from agent.record.wandb_run import WandbRun  # slow to import, and unused where tracking is disabled

        self.run = WandbRun(self.folder, settings, config)
        for line in kept:  # what W&B lost: it writes less often
            self.run.log(line)

    def _guarded(self, call: Callable[[], object]) -> None:
        """Do something with W&B. Its first failure is one line, and the last that is asked of it in this process."""
        try:
            call()
        except Exception as error:  # of W&B, its process, its server or its folder: none of them ends a run
            self.run, self._failed = None, True
            why = f"Weights & Biases failed: {first_line(error)}; the run goes on without it, with {str(self._path)!r}"
            console.print(why, markup=False, highlight=False, soft_wrap=True)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Log the numbers among the metrics; NaN and infinity become null."""
        if self._muted:
            return
        numbers_ = {k: float(v) for k, v in metrics.items() if isinstance(v, numbers.Real)}
        line = {"step": self.step} | {k: v if math.isfinite(v) else None for k, v in numbers_.items()}
        with durable.named_errors(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        if self.run:
            self._guarded(lambda: self.run.log(line))
        self.step += 1

    def log_tree(self, prefix: str, tree: Mapping[str, Any]) -> None:
        """Log the numbers of a nested mapping, under `prefix/key/key`."""
        self.log({f"{prefix}/{name}": value for name, value in flat(tree, "/").items()})

    def video(self, name: str, path: Path) -> None:
        if self.run and not self._muted:
            self._guarded(lambda: self.run.video(name, path, self.step))

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
        if self.run:
            self._guarded(self.run.close)
        if self._failed:
            from agent.record.wandb_run import abandon

            abandon()


class TrackTraining(TrainerCallback):
    """Sends the metrics of a trl trainer to the tracker, under a prefix.

    A training that goes on from a checkpoint logs again what it had logged before. Its last line is of its own steps
    only: `train_loss` and the timings in it are not those of an undisturbed training.
    """

    def __init__(self, tracker: Tracker, prefix: str):
        self.tracker, self.prefix = tracker, prefix

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        for entry in state.log_history:
            self._log({name: value for name, value in entry.items() if name != "step"})  # which trainers add for it

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self._log(logs or {})

    def _log(self, logs: Mapping[str, Any]) -> None:
        self.tracker.log({f"{self.prefix}/{name}": value for name, value in sorted(logs.items())})  # as in checkpoints


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
        console.print(lost, markup=False, highlight=False, soft_wrap=True)
    return lines


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for one that is not whole."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    whole = text.endswith(b"\n") and isinstance(line, dict) and type(line.get("step")) is int
    return line if whole else None
