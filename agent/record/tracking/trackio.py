"""A trackio run of a run folder, on this machine: `trackio show --project handeye`.

trackio keeps all projects in one folder, `TRACKIO_DIR` or that of Hugging Face's caches. It knows runs by their names,
so that a run folder's has an id in its name, which is kept in `trackio.json`.
"""

import io
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from agent.config import Tracking
from agent.organise import durable
from agent.record.tracking.axes import STEP
from agent.record.tracking.job import TrackedJob
from agent.record.tracking.sinks import Line, Scalars
from envs.errors import UserError

FILE = "trackio.json"  # {"name": of the run}
REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID")  # what would send it elsewhere


class Trackio(Scalars):
    """Numbers under the names of metrics.jsonl over the number of their line; the x-axes are among them.

    A run that is resumed is deleted there and written anew from metrics.jsonl, so that no number is there twice.
    """

    def __init__(self, folder: Path, settings: Tracking, config: Mapping[str, Any], job: TrackedJob):
        with _on_this_machine():
            import trackio
            from trackio.sqlite_storage import SQLiteStorage

            name, is_new = _name(folder)
            if not is_new:
                SQLiteStorage.delete_run(settings.project, name)
            about = {"command": job.command, "kind": job.kind, "tags": [*settings.tags, *job.tags]}
            self._run = trackio.init(
                project=settings.project,
                name=name,
                group=settings.group,
                config={**config, "job": about},
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, line: Line) -> None:
        values = {name: math.nan if value is None else value for name, value in line.items() if name != STEP}
        self._run.log(values, step=int(line[STEP]))

    def close(self) -> None:
        import trackio

        with _on_this_machine():
            trackio.finish()  # by the module: it would finish the run again at the interpreter's exit


def _name(folder: Path) -> tuple[str, bool]:
    """The name of a run folder's run, and whether it was drawn now. Raises UserError for a damaged `trackio.json`."""
    path = folder / FILE
    if not path.exists():
        name = f"{folder.resolve().name}-{secrets.token_hex(3)}"
        durable.write(path, json.dumps({"name": name}) + "\n")
        return name, True
    try:
        return str(json.loads(path.read_text())["name"]), False
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} is damaged; valid: {{'name': ...}}, or no such file for a new run") from error


@contextmanager
def _on_this_machine() -> Iterator[None]:
    """In the block, trackio is sent nowhere else, and says nothing: it would tell how its page is opened."""
    before = {name: os.environ.pop(name) for name in REMOTE if name in os.environ}
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        os.environ |= before
