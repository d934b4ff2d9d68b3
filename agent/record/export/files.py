"""Parquet files that grow by a table at a time, numbered as LeRobot numbers them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class ParquetFiles:
    """Parquet files of about `most_mb` each, in folders of `chunk` files; each table that is written is a row group."""

    def __init__(self, folder: Path, path: str, most_mb: float, chunk: int):
        """path: the template of a file's, with chunk_index and file_index."""
        self._folder, self._path, self._most, self._chunk = folder, path, most_mb * 2**20, chunk
        self._number, self._writer, self._sink = 0, None, None
        self.schema: pa.Schema | None = None

    def next_place(self) -> dict[str, int]:
        """The chunk and the file into which the next table goes."""
        if self._sink is not None and self._sink.tell() >= self._most:
            self.close()
            self._number += 1
        return {"chunk_index": self._number // self._chunk, "file_index": self._number % self._chunk}

    def write(self, table: pa.Table) -> dict[str, int]:
        """Where it was written, as the keys of meta/episodes."""
        place = self.next_place()
        if self._writer is None:
            path = self._folder / self._path.format(**place)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.schema = table.schema
            self._sink = path.open("wb")
            self._writer = pq.ParquetWriter(self._sink, table.schema, compression="snappy")
        self._writer.write_table(table)
        return {f"data/{key}": value for key, value in place.items()}

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
        self._writer = self._sink = None
