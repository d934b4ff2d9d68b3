"""The journal of a run: one line for each stage that is done, appended after all that the stage wrote is on the disk.

The marker is written last, as by Delta Lake and Orbax: what the journal does not name is not there. A line is JSON with
a number and a checksum; the first tells the run's config and what its results depend on.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent.organise import durable
from envs.errors import UserError
from policies.backends.adapters.weights import file_sha256

FILE = "journal.jsonl"
SCHEMA = 1
LONGEST = 10**8  # [bytes] of a line


@dataclass(frozen=True)
class Done:
    """A stage that is done.

    row: what it adds to its round's row of results.json. spent: what it adds to the run's budget. metrics: lines of
    metrics.jsonl after it. wall_s: how long it took, in the process that finished it. outputs: each folder that it
    wrote, relative to the run's -> path in it -> SHA-256.
    """

    round: int
    stage: str
    row: dict[str, Any]
    spent: dict[str, int] = field(default_factory=dict)
    metrics: int = 0
    wall_s: float = 0.0
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)


class Journal:
    """The journal in a run's folder.

    begun: what `begin` wrote, None before that. again: records of stages that are done again, because what they wrote
    is damaged.
    """

    def __init__(self, folder: Path):
        """Raises UserError for a journal whose beginning is damaged or of another schema. A line that a crash cut off
        is none; of damaged lines further up, and all after them, `lost` tells."""
        self.path, self.begun, self.lost = folder / FILE, None, 0
        self.done, self.again = list[Done](), list[Done]()
        if not self.path.exists():
            return
        lines = self.path.read_bytes().split(b"\n")
        whole = list(_whole(lines))
        if not whole:  # a crash leaves none, or one with its first line
            raise UserError(f"{str(self.path)!r} is damaged at its beginning; valid: another --out")
        self.begun, *records = whole
        if self.begun["schema"] != SCHEMA:
            raise UserError(f"{str(self.path)!r} has schema {self.begun['schema']}; valid: {SCHEMA}")
        self.done = [Done(**record) for record in records]
        self.lost = len([line for line in lines[len(whole) : -1] if line])

    @property
    def metrics(self) -> int:
        """Lines of metrics.jsonl after the latest stage."""
        return self.done[-1].metrics if self.done else 0

    @property
    def wall_s(self) -> float:
        """[s] that the stages took, each in the process that finished it."""
        return sum(done.wall_s for done in self.done)

    def begin(self, first: Mapping[str, Any]) -> None:
        """Write the first line."""
        self.begun = {"schema": SCHEMA, **first}
        self._rewrite()

    def find(self, round: int, stage: str) -> Done | None:
        """The latest record of a stage; None where it is not done."""
        return next((d for d in reversed(self.done) if (d.round, d.stage) == (round, stage)), None)

    def add(self, done: Done) -> None:
        """Append a record; it is on the disk when this returns. Raises UserError where the disk is full or fails."""
        durable.append(self.path, _line(len(self.done) + 1, asdict(done)))
        self.done.append(done)

    def mend(self) -> None:
        """Write the journal anew with its whole lines, without what a crash left half-written."""
        self._rewrite()
        self.lost = 0

    def _rewrite(self) -> None:
        records = [self.begun, *map(asdict, self.done)]
        durable.write(self.path, b"".join(_line(i, record) for i, record in enumerate(records)))


def is_journal(path: Path) -> bool:
    """Whether a file begins as the journal of a run, whole to its checksum."""
    try:
        with path.open("rb") as file:
            return any("schema" in first for first in _whole([file.readline(LONGEST)]))
    except OSError:
        return False


def hashes(path: Path) -> dict[str, str]:
    """Path of each file in a folder, relative to it -> SHA-256."""
    return {file.relative_to(path).as_posix(): file_sha256(file) for file in sorted(path.rglob("*")) if file.is_file()}


def damage(run: Path, done: Done) -> tuple[dict[str, str], list[Path]]:
    """What is wrong with what a stage wrote: output -> its first file that is missing or damaged, in words; and files
    that are there beside those that it wrote."""
    found, foreign = {}, []
    for output, written in done.outputs.items():
        there = hashes(run / output)
        wrong = [name for name in written if there.get(name) != written[name]]
        if wrong:
            what = "is damaged" if wrong[0] in there else "is missing"
            found[output] = f"{str(run / output / wrong[0])!r} {what}"
        foreign += [run / output / name for name in there if name not in written]
    return found, foreign


def _line(number: int, record: Mapping[str, Any]) -> bytes:
    content = {"number": number, **record}
    return json.dumps(content | {"checksum": _checksum(content)}).encode() + b"\n"


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _whole(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The records up to the first line that is not whole, or not the next one."""
    for number, line in enumerate(lines):
        try:
            content = json.loads(line)
        except ValueError:
            return
        checksum = content.pop("checksum", None) if isinstance(content, dict) else None
        if checksum is None or checksum != _checksum(content) or content.pop("number") != number:
            return
        yield content
