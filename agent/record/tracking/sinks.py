"""Sinks: where metrics go beside metrics.jsonl. One that fails is told in one line, and the run goes on without it."""

import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from agent.config import Tracking
from agent.record.console import say
from agent.record.rundir import plain
from agent.record.tracking.job import Artifact, TrackedJob
from agent.record.tracking.tables import Rows
from envs.errors import UserError, first_line

Line = Mapping[str, float | None]  # of metrics.jsonl; None is NaN or infinite
TITLES = {"wandb": "Weights & Biases", "tensorboard": "TensorBoard", "trackio": "trackio"}


class Sink(Protocol):
    """What is sent with a step goes with the line of that step, the next one. tables: whether it shows them."""

    tables: bool

    def log(self, line: Line) -> None: ...

    def video(self, name: str, path: Path, step: int) -> None: ...

    def table(self, name: str, rows: Rows, step: int) -> None: ...

    def artifact(self, artifact: Artifact, step: int) -> None: ...

    def summary(self, values: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class Scalars:
    """A sink of numbers alone."""

    tables = False

    def video(self, name: str, path: Path, step: int) -> None: ...

    def table(self, name: str, rows: Rows, step: int) -> None: ...

    def artifact(self, artifact: Artifact, step: int) -> None: ...

    def summary(self, values: Mapping[str, Any]) -> None: ...


def chosen(settings: Tracking) -> list[str]:
    """The names of the sinks that the settings ask for."""
    return [name for name in settings.sinks if name != "wandb" or settings.mode != "disabled"]


def check_installed(settings: Tracking) -> None:
    """Raises UserError for a sink whose package is missing, with the command that installs it."""
    for name in chosen(settings):
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"tracking.sinks has {name!r}, and its package is not installed; valid: first "
                f"pip install 'handeye[{name}]', or tracking.sinks without it"
            )


class Sinks:
    """The sinks of a run that have not failed."""

    def __init__(
        self,
        folder: Path,
        settings: Tracking,
        config: Mapping[str, Any],
        job: TrackedJob,
        kept: Iterable[Line],
    ):
        """kept: the lines of metrics.jsonl so far."""
        config = json.loads(json.dumps(plain(dict(config)), default=str))  # of pretraining, some values are paths
        self._instead = str(folder / "metrics.jsonl")
        self._open, self._failed = dict[str, Sink](), set[str]()
        for name in chosen(settings):
            self._guarded(name, lambda name=name: self._begin(name, folder, settings, config, job, kept))

    def _begin(self, name: str, folder: Path, settings: Tracking, config: Mapping[str, Any], job: TrackedJob, kept):
        # each is slow to import, and unused where it was not asked for
        if name == "wandb":
            from agent.record.tracking.wandb_run import WandbRun as Opened
        elif name == "trackio":
            from agent.record.tracking.trackio import Trackio as Opened
        else:
            from agent.record.tracking.tensorboard import TensorBoard as Opened
        self._open[name] = Opened(folder, settings, config, job)
        for line in kept:  # what the sink lost: it writes less often
            self._open[name].log(line)

    def each(self, call: Callable[[Sink], object]) -> None:
        """Do something with each sink. A sink's first failure is one line, and the last that is asked of it."""
        for name in list(self._open):
            self._guarded(name, lambda name=name: call(self._open[name]))

    @property
    def tables(self) -> bool:
        """Whether one of them shows tables."""
        return any(sink.tables for sink in self._open.values())

    def close(self) -> None:
        self.each(lambda sink: sink.close())
        if "wandb" in self._failed:
            from agent.record.tracking.wandb_run import abandon

            abandon()

    def _guarded(self, name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # of a library, its process, its server or its folder: none of them ends a run
            self._open.pop(name, None)
            self._failed.add(name)
            why = f"{TITLES[name]} failed: {first_line(error)}; the run goes on without it, with {self._instead!r}"
            say(why)
