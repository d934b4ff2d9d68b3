"""W&B's transaction logs, which offline parts of a run are: what is in one, and its repair after a crash."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2 as proto

from agent.organise import durable
from agent.record.tracking.axes import STEP

DAMAGED = ".damaged"  # suffix of a log that `wandb sync` must not find


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
