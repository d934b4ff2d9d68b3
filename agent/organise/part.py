"""One file of a store: a Parquet table with the schema's version and a checksum of all its bytes.

The checksum is in the Parquet footer's own key-value metadata, so that it cannot be separated from the file, and any
Parquet reader can read the file. It is the BLAKE2b of the file with zeros in the checksum's place: a byte that is
flipped, missing or too many, wherever it is, gives another one.

The same table gives the same bytes: no time, no name of a machine, no statistics. Frames are stored plainly, neither
compressed (PNG is) nor in a dictionary, so that each lies in the file as it is (Parquet's encoding PLAIN) and is read
alone, by its offset: in a few microseconds, where a row group would have to be decoded. What was read lately is in the
operating system's page cache.
"""

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agent.organise import durable
from envs.errors import UserError

VERSION = 2  # of the schema; 1 had no checksum and no version
MOST_BYTES = 2**31  # of a file that is a part, and of its columns; what is larger is not read into memory
MOST_ROWS = 10**7
PLAIN, _PLAINLY = "frames", "none"  # the column that is stored plainly, and its codec
_MAGIC = b"PAR1"
_ZEROS = b"0" * 64
_VERSION_KEY, _CHECKSUM_KEY, _MARK = "handeye.schema", "handeye.checksum", "blake2b:"
_CHECKSUM = re.compile(_MARK.encode() + b"([0-9a-f]{64})")


class DamagedError(UserError):
    """A file that is no part as it was written: truncated, changed, foreign, or of a newer schema."""

    def __init__(self, path: Path, why: str):
        super().__init__(f"{str(path)!r} cannot be read: {why}")
        self.path, self.why = path, why


@dataclass
class Part:
    """A part that frames are read from. path: changes where the folder is renamed, for all frames at once."""

    path: Path


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """The place of a PNG in a part. crc: CRC-32 of the PNG."""

    part: Part
    offset: int
    length: int
    crc: int

    def read(self) -> bytes:
        """The PNG. Raises DamagedError where the file is gone, or is no longer the one that was checked."""
        path = self.part.path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                png = os.pread(descriptor, self.length, self.offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DamagedError(path, f"{error.strerror}; frames of episodes that are in use are in it") from error
        if zlib.crc32(png) != self.crc:
            raise DamagedError(path, "it has changed since it was opened; frames of episodes in use are in it")
        return png


def stored_frames(part: Part, content: bytes | bytearray, pngs: Iterable[bytes]) -> Iterator[StoredFrame]:
    """The place of each PNG of a part's frames, in their order. content: the part's bytes.

    Raises DamagedError for frames that are not stored plainly, which another program may have done.
    """
    offset = 0
    for png in pngs:
        offset = content.find(png, offset)
        if offset < 0:
            raise DamagedError(part.path, f"its column {PLAIN} is compressed or in a dictionary")
        yield StoredFrame(part, offset, len(png), zlib.crc32(png))
        offset += len(png)


def encode(table: pa.Table, version: int = VERSION) -> bytearray:
    """The bytes of a part that holds the table, which has a column of frames."""
    others = [name for name in table.column_names if name != PLAIN]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression=dict.fromkeys(others, "zstd") | {f"{PLAIN}.list.element": _PLAINLY},
        use_dictionary=others,
        write_statistics=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_VERSION_KEY: str(version), _CHECKSUM_KEY: _MARK + _ZEROS.decode()})
    content = bytearray(sink.getvalue())
    place = _place(content)
    content[place] = _digest(content, place)
    return content


def write(path: Path, table: pa.Table, version: int = VERSION) -> bytearray:
    """Write the table as a part, whole or not at all; returns its bytes. Raises UserError where the disk is full or
    fails."""
    content = encode(table, version)
    durable.write(path, content)
    return content


def check(path: Path) -> bytes:
    """The bytes of a part. Raises DamagedError unless they are those that were written."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DamagedError(path, f"it is larger than any part, {MOST_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(path, str(error.strerror)) from error
    if not content:
        raise DamagedError(path, "it is empty")
    if content[:4] != _MAGIC or content[-4:] != _MAGIC:
        raise DamagedError(path, "it is no Parquet file, or not the whole of one")
    place = _place(content)
    if place is None:
        raise DamagedError(path, "it has no checksum; an older version or another program wrote it")
    if content[place] != _digest(content, place):
        raise DamagedError(path, "its bytes are not those that were written (checksum)")
    return content


def decode(
    content: bytes, path: Path, schema: pa.Schema, filled: Iterable[str] = (), later: Iterable[str] = ()
) -> pa.Table:
    """The table of a part's bytes. Raises DamagedError for another schema.

    path: of the file, for the error. filled: columns with a value in every row. later: columns that an earlier version
    did not write; null where they are missing.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        version = (file.metadata.metadata or {}).get(_VERSION_KEY.encode(), b"0").decode()
        if version != str(VERSION):
            newer = version.isdecimal() and int(version) > VERSION
            raise DamagedError(path, f"its schema is {version}, {'newer' if newer else 'other'} than {VERSION}, ours")
        footer = file.metadata
        size = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
        if footer.num_rows > MOST_ROWS or size > MOST_BYTES:
            raise DamagedError(path, f"it holds {footer.num_rows} rows, {size} bytes, more than any part")
        table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedError(path, str(error)) from error
    for name in [name for name in later if name not in table.column_names]:
        table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
    if missing := [name for name in schema.names if name not in table.column_names]:
        raise DamagedError(path, f"it has no column {', '.join(missing)}")
    for field in schema:
        if table.schema.field(field.name).type != field.type:
            raise DamagedError(path, f"its column {field.name} is {table.schema.field(field.name).type}")
    for name in filled:
        if table[name].null_count or _has_null_items(table[name]):
            raise DamagedError(path, f"its column {name} has rows without a value")
    return table


def _has_null_items(column: pa.ChunkedArray) -> bool:
    return pa.types.is_list(column.type) and any(chunk.flatten().null_count for chunk in column.chunks)


def _place(content: bytes | bytearray) -> slice | None:
    """Where a part's bytes hold the checksum: the last place in the footer that looks like one."""
    length = int.from_bytes(content[-8:-4], "little")
    found = list(_CHECKSUM.finditer(content, max(0, len(content) - 8 - length)))
    return slice(*found[-1].span(1)) if found else None


def _digest(content: bytes | bytearray, place: slice) -> bytes:
    digest, view = blake2b(digest_size=32), memoryview(content)
    for some in (view[: place.start], _ZEROS, view[place.stop :]):
        digest.update(some)
    return digest.hexdigest().encode()
