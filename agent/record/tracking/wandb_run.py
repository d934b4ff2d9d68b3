"""The Weights & Biases (W&B) run of a run folder: one id for all its processes, each line of metrics sent once.

Each process adds a part. An offline one is a folder `wandb/offline-run-DATE-ID` with a transaction log, for later:

    wandb sync RUN/wandb

sends the parts in the order of their start. Each was begun with resume="allow", which is in the log too: for each,
`wandb sync` asks the server for the run's last step, and goes on after it. Without that the second part overwrites the
first (wandb#5865). An empty log would stop the sync of all parts, and a log that ends amid a record that of the parts
after it; wandb writes its log every 15 s, so that a crash leaves such logs. They are repaired before a part is added.
"""

import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from agent.config import Tracking
from agent.organise import durable
from agent.record.tracking.axes import STEP, axis_of, is_axis
from agent.record.tracking.job import Artifact, TrackedJob
from agent.record.tracking.sinks import Line
from agent.record.tracking.tables import Rows
from agent.record.tracking.wandb_log import repair, sent
from envs.errors import UserError, first_line

FILE = "wandb.json"  # {"id": the W&B run's id}
LOGS = "wandb/*run-*/run-*.wandb"
OFFLINE = "offline-run-"  # prefix of the folders that W&B's server does not know yet
STAGED = "wandb/staged"  # what W&B is still to upload; by default it keeps that in the home folder
FINISH_S = 300.0  # [s] to wait for uploads at the end of a process; what is left is sent by `wandb sync`
LATER = ("README.md", "final.jsonl")  # what other commands write into a policy's folder
HASHED = 2**30  # [bytes] of a file that is referred to: a larger one is known by its path, without its checksum
LONGEST_TAG = 64  # characters that W&B takes
USERS_DATA_DIR = os.environ.get("WANDB_DATA_DIR")


class WandbRun:
    """The part of the W&B run that this process adds.

    sent: the lines of metrics.jsonl, numbered by their step from 0, that W&B has: those below `sent` are not
    sent again.
    """

    tables = True

    def __init__(self, folder: Path, settings: Tracking, config: Mapping[str, Any], job: TrackedJob):
        """Raises UserError for a damaged `wandb.json`, for a disk that is full, and where W&B refuses or is away."""
        logs = sorted(folder.glob(LOGS))
        offline = [log for log in logs if log.parent.name.startswith(OFFLINE)]
        self.sent = max((repair(log) for log in offline), default=0)
        if settings.mode == "offline":  # the server is not asked, but what was sent to it is in logs too
            self.sent = max((self.sent, *(sent(log) for log in logs if log not in offline)))
        self._references = settings.artifacts == "references"
        self._run = _begin(folder, settings, config, job)
        self.sent = max(self.sent, int(self._run.summary.get(STEP, -1)) + 1)  # the server's, where it resumes a run
        self._run.define_metric(STEP, hidden=True)
        self._defined = {STEP}

    def log(self, line: Line) -> None:
        """Send a line of metrics.jsonl, null as NaN, unless W&B has it.

        W&B counts its own `_step`, which goes on from part to part; a step given to it would be refused where it is
        behind.
        """
        for name in line:
            self._define(name, line)
        if line[STEP] >= self.sent:
            self._run.log({name: math.nan if value is None else value for name, value in line.items()})

    def _define(self, name: str, line: Line) -> None:
        """Tell W&B the x-axis of a metric, once. By name, as W&B has no order between patterns that overlap."""
        if name not in self._defined:
            self._defined.add(name)
            if is_axis(name):
                self._run.define_metric(name, hidden=True)
            else:
                self._run.define_metric(name, step_metric=axis_of(name, line))

    def video(self, name: str, path: Path, step: int) -> None:
        """Send a video with the line of that step, the next one, unless W&B has that line."""
        if step >= self.sent:
            self._run.log({name: wandb.Video(str(path), format="mp4")}, commit=False)

    def table(self, name: str, rows: Rows, step: int) -> None:
        """Send a table with the line of that step, as `video`."""
        if step >= self.sent:
            made = wandb.Table(columns=list(rows.columns), allow_mixed_types=True)
            for row in rows.rows:
                made.add_data(*map(_cell, row))
            self._run.log({name: made}, commit=False)

    def artifact(self, artifact: Artifact, step: int) -> None:
        """Record an artifact that the run used or made, unless W&B has the line of that step.

        One that was used is logged by content, as `Run.use_artifact` does with an artifact that it does not know: W&B
        finds the version with the same content, so that the version which another run made is the one used here.
        """
        if step < self.sent:
            return
        made, folder = wandb.Artifact(_name(artifact.name), artifact.kind), artifact.folder.resolve()
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in LATER):
            within = path.relative_to(folder).as_posix()
            if self._references:
                made.add_reference(path.as_uri(), within, checksum=path.stat().st_size <= HASHED)
            else:
                made.add_file(str(path), within, policy="immutable")
        if artifact.used:  # `use_artifact` refuses offline; this is what it calls, and an offline log holds it
            self._run._log_artifact(made, aliases=[*artifact.aliases], is_user_created=True, use_after_commit=True)
        else:
            self._run.log_artifact(made, aliases=["latest", *artifact.aliases])

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def close(self) -> None:
        self._run.finish()


def _cell(value: Any) -> Any:
    """A cell of a table as W&B shows it."""
    if isinstance(value, np.ndarray):
        return wandb.Image(value)
    return wandb.Video(str(value), format="mp4") if isinstance(value, Path) else value


def _name(name: str) -> str:
    """The name with what W&B does not take as `-`."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "unnamed"


def abandon() -> None:
    """End W&B's own process after a failure: at the interpreter's exit it would print a traceback, or wait."""
    with suppress(Exception):  # it failed before
        wandb.teardown(exit_code=1)


def _begin(folder: Path, settings: Tracking, config: Mapping[str, Any], job: TrackedJob) -> wandb.Run:
    # a run that is synced later finds its tables and pictures in its own folder
    os.environ["WANDB_DATA_DIR"] = USERS_DATA_DIR or str((folder / STAGED).resolve())
    try:
        with durable.named_errors(folder / "wandb"):
            return wandb.init(
                project=settings.project,
                id=run_id(folder),
                resume="allow",
                name=folder.resolve().name,
                group=settings.group,
                job_type=job.kind,
                tags=[tag[:LONGEST_TAG] for tag in dict.fromkeys((*settings.tags, *job.tags)) if tag],
                notes=f"To repeat: {job.command}" if job.command else None,
                dir=folder,
                mode=settings.mode,
                config=dict(config),
                # a remote's URL may hold a token; `provenance` in results.json has the commit
                settings=wandb.Settings(silent=True, disable_git=True, finish_timeout=FINISH_S),
            )
    except wandb.Error as error:
        mode = f"tracking.mode = {settings.mode!r}"
        raise UserError(f"{mode}: {first_line(error)}") from error


def run_id(folder: Path) -> str:
    """The id of a run folder's W&B run, drawn at the first call. Raises UserError for a damaged `wandb.json`."""
    path = folder / FILE
    if not path.exists():
        durable.write(path, json.dumps({"id": secrets.token_hex(8)}) + "\n")
    try:
        return str(json.loads(path.read_text())["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} is damaged; valid: {{'id': ...}}, or no such file for a new W&B run") from error
