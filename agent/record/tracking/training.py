"""Metrics of a trl trainer."""

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from agent.record.tracking.axes import GLOBAL_STEP
from agent.record.tracking.tracker import Tracker


class TrackTraining(TrainerCallback):
    """Sends the metrics of a trl trainer to the tracker, under a prefix, with the optimiser steps of all trainings with
    this prefix so far as `PREFIX/global_step`.

    A training that goes on from a checkpoint logs again what it had logged before. Its last line is of its own steps
    only: `train_loss` and the timings in it are not those of an undisturbed training.
    """

    def __init__(self, tracker: Tracker, prefix: str):
        self.tracker, self.prefix, self._before = tracker, prefix, 0

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._before = int(self.tracker.latest.get(f"{self.prefix}/{GLOBAL_STEP}") or 0)
        for entry in state.log_history:
            self._log({name: value for name, value in entry.items() if name != "step"}, entry["step"])

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self._log(logs or {}, state.global_step)

    def _log(self, logs: Mapping[str, Any], step: int) -> None:
        logs = {**logs, GLOBAL_STEP: self._before + step}
        self.tracker.log({f"{self.prefix}/{name}": value for name, value in sorted(logs.items())})  # as in checkpoints
