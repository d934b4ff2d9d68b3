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
import secrets
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2 as proto

from agent.config import Tracking
from agent.organise import durable
from envs.errors import UserError, first_line

FILE = "wandb.json"  # {"id": the W&B run's id}
LOGS = "wandb/*run-*/run-*.wandb"
DAMAGED = ".damaged"  # suffix of a log that `wandb sync` must not find
OFFLINE = "offline-run-"  # prefix of the folders that W&B's server does not know yet
FINISH_S = 300.0  # [s] to wait for uploads at the end of a process; what is left is sent by `wandb sync`
STEP = "step"  # the metric that is the x-axis of all others


class WandbRun:
    """The part of the W&B run that this process adds.

    sent: the lines of metrics.jsonl, numbered by their step from 0, that W&B has: those below `sent` are not
    sent again.
    """

    def __init__(self, folder: Path, settings: Tracking, config: Mapping[str, Any]):
        """Raises UserError for a damaged `wandb.json`, for a disk that is full, and where W&B refuses or is away."""
        logs = sorted(folder.glob(LOGS))
        offline = [log for log in logs if log.parent.name.startswith(OFFLINE)]
        self.sent = max((repair(log) for log in offline), default=0)
        if settings.mode == "offline":  # the server is not asked, but what was sent to it is in logs too
            self.sent = max((self.sent, *(sent(log) for log in logs if log not in offline)))
        self._run = _begin(folder, settings, config)
        self.sent = max(self.sent, int(self._run.summary.get(STEP, -1)) + 1)  # the server's, where it resumes a run
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)

    def log(self, line: Mapping[str, float | None]) -> None:
        """Send a line of metrics.jsonl, null as NaN, unless W&B has it.

        W&B counts its own `_step`, which goes on from part to part; a step given to it would be refused where it is
        behind.
        """
        if line[STEP] >= self.sent:
            self._run.log({name: math.nan if value is None else value for name, value in line.items()})

    def video(self, name: str, path: Path, step: int) -> None:
        """Send a video with the line of that step, the next one, unless W&B has that line."""
        if step >= self.sent:
            self._run.log({name: wandb.Video(str(path), format="mp4")}, commit=False)

    def close(self) -> None:
        self._run.finish()


def abandon() -> None:
    """End W&B's own process after a failure: at the interpreter's exit it would print a traceback, or wait."""
    with suppress(Exception):  # it failed before
        wandb.teardown(exit_code=1)


def _begin(folder: Path, settings: Tracking, config: Mapping[str, Any]) -> wandb.Run:
    try:
        with durable.named_errors(folder / "wandb"):
            return wandb.init(
                project=settings.project,
                id=run_id(folder),
                resume="allow",
                name=folder.resolve().name,
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


def repair(log: Path) -> int:
    """Cut an offline log after its last whole record; rename one in which no run begins. Returns `sent` of it."""
    end, begun, after = _scan(log)
    if not begun:
        log.rename(log.with_name(log.name + DAMAGED))
    elif end < log.stat().st_size:
        with durable.named_errors(log), log.open("r+b") as file:
            file.truncate(end)
    return after


def sent(log: Path) -> int:
    """The step after the last one in a log; 0 where there is none."""
    return _scan(log)[2]


def _scan(log: Path) -> tuple[int, bool, int]:
    """Of a log: the end of its last whole record [bytes], whether a run begins in it, and the step after its last."""
    end, begun, last = 0, False, -1
    for place, record in records(log):
        end, begun = place, begun or record.HasField("run")
        for item in record.history.item:
            if [*item.nested_key, *filter(None, [item.key])] == [STEP]:
                last = max(last, int(json.loads(item.value_json)))
    return end, begun, last + 1


def records(log: Path) -> Iterator[tuple[int, proto.Record]]:
    """The whole records of a transaction log, each with the offset of its end [bytes], up to the first that is damaged.

    LevelDB's log format: 7 bytes that name the format, then blocks of 32 KiB. A block holds chunks, each with a header
    of 7 bytes: CRC-32 of the type and the content, length of the content, type (1: a whole record; 2, 3, 4: its first,
    a middle, its last chunk). What is left of a block, when it is less than a header, is padding.
    """
    block, header, data = 32 * 1024, struct.Struct("<IHB"), log.read_bytes()
    at, content = 7, b""
    while at + header.size <= len(data):
        if (left := block - at % block) < header.size:
            at += left
            continue
        crc, length, kind = header.unpack_from(data, at)
        chunk = data[at + header.size : at + header.size + length]
        if len(chunk) < length or zlib.crc32(chunk, zlib.crc32(bytes([kind]))) != crc:
            return
        at, content = at + header.size + length, chunk if kind in (1, 2) else content + chunk
        if kind in (1, 4):
            yield at, proto.Record.FromString(content)
