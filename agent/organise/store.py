"""Episodes on disk: Parquet, one row per step. Parts of bounded size, each written whole or not at all.

An episode that comes from a store holds references: a frame is read from its part when it is asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from agent.organise import durable, foreign, part
from agent.organise.episode import Episode
from agent.organise.part import DamagedError, Part
from agent.organise.records import FILLED, LATER, STORED, episodes_of, frames_of, rows_of, table_of
from envs.observation import PackedFrame

PART_BYTES = 8_000_000  # of the frames in one part, where it has more than one episode; five times this is in memory
PART_ROWS = 50_000  # in one part, where it has more than one episode


class EpisodeStore:
    """A folder of Parquet parts. Parts are only added, each whole or not at all, and synced."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._parts: dict[str, Part] = {}  # name of a file -> what frames refer to

    def append(self, episodes: Iterable[Episode], by_reference: bool = False) -> None:
        """Add the episodes as one part, or several where they are many; as an empty one where there are none.

        A part ends between two episodes, before PART_BYTES of frames or PART_ROWS rows: the same episodes in the same
        order give the same bytes, and no more than a part of them is in memory. Raises UserError where the disk is full
        or fails; the parts before the failed one stay.

        by_reference: the episodes' packed frames let go of their PNGs, and are read from the store from now on, for all
        who share them.
        """
        durable.make(self.folder)
        number = max(map(_number, self.parts()), default=-1) + 1
        for i, batch in enumerate(_batches(episodes)):
            path = self.folder / f"part-{number + i:05d}.parquet"
            content = part.write(path, table_of(batch.rows))
            if by_reference:
                pngs = (png for row in batch.rows for png in row["frames"])
                places = part.stored_frames(self._part(path), content, pngs)
                for frame, place in zip(batch.frames, places, strict=True):
                    frame.refer(place)

    def parts(self) -> list[Path]:
        """Its files in their order, without those that other programs put beside them."""
        return sorted(filter(foreign.is_part, self.folder.glob("part-*.parquet")), key=_number)

    def __iter__(self) -> Iterator[Episode]:
        """Every episode; one whose rows are not all there is broken. Raises DamagedError for a damaged part."""
        for path in self.parts():
            yield from _read(self._part(path))

    def undamaged(self, report: Callable[[str], object]) -> Iterator[Episode]:
        """The episodes of the parts that are whole. report: called with one line for each part that is not."""
        for path in self.parts():
            try:
                episodes = _read(self._part(path))
            except DamagedError as error:
                report(str(error))
                continue
            yield from episodes

    def by_key(self) -> dict[tuple[str, int, int], Episode]:
        """(task, seed, attempt) -> the episode. Of several the last: one that broke with its worker is played again.

        Raises DamagedError for a damaged part.
        """
        return {(e.task, e.seed, e.attempt): e for e in self}

    def rescue(self, quarantine: Path) -> list[str]:
        """Move damaged parts into the folder `quarantine`; returns one line for each, and for each file
        that is none of ours. The store can then be read.

        What a crash left half-written is deleted: nobody was told that it is there. Raises UserError where the disk is
        full or fails.
        """
        lines = []
        for path in self.folder.glob(f"part-*.parquet{durable.PARTIAL}"):
            if foreign.is_part(path.with_suffix("")):
                path.unlink()
        if self.folder.is_dir():
            lines += map(foreign.notice, foreign.beside_parts(self.folder.iterdir()))
        for path in self.parts():
            try:
                _table(path)
            except DamagedError as error:
                aside = durable.set_aside(path, quarantine, f"{path.parent.name}-{path.name}")
                lines.append(f"{error}; set aside as {str(aside)!r}")
        return lines

    def _part(self, path: Path) -> Part:
        return self._parts.setdefault(path.name, Part(path))


def read(path: Path) -> Iterator[Episode]:
    """The episodes of one part, whose frames refer to it. Raises DamagedError, at once, for one that is damaged."""
    return _read(Part(path))


def _read(source: Part) -> Iterator[Episode]:
    content, table = _table(source.path)
    rows = table.to_pylist()
    places = part.stored_frames(source, content, (png for row in rows for png in row["frames"]))
    return episodes_of(rows, [PackedFrame(place) for place in places])


def _table(path: Path) -> tuple[bytes, pa.Table]:
    """The bytes of a part, and its table. Raises DamagedError."""
    content = part.check(path)
    return content, part.decode(content, path, STORED, FILLED, LATER)


@dataclass
class _Batch:
    """What becomes a part. frames: packed, in the order of the rows."""

    rows: list[dict] = field(default_factory=list)
    frames: list[PackedFrame] = field(default_factory=list)
    size: int = 0  # [bytes] of the frames


def _batches(episodes: Iterable[Episode]) -> Iterator[_Batch]:
    batch = _Batch()
    for episode in episodes:
        rows = list(rows_of(episode))
        size = sum(len(png) for row in rows for png in row["frames"])
        if batch.rows and (batch.size + size > PART_BYTES or len(batch.rows) + len(rows) > PART_ROWS):
            yield batch
            batch = _Batch()
        batch.rows += rows
        batch.frames += frames_of(episode)
        batch.size += size
    yield batch


def _number(path: Path) -> int:
    """Of a part, by its name."""
    return int(path.stem.removeprefix("part-"))
