"""The files of a set of questions, read into rows: problems.json, what `datasets` saved, or Parquet.

Files may come from anywhere: one that is cut, is of another kind, names files outside its folder, or grows when it is
unpacked is refused in one line.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from envs.errors import UserError, first_line, shown, unknown
from envs.suites.questions.pictures import inside, is_file, read
from envs.suites.questions.rows import Record, Row, row
from envs.validation import utf8

# Of the data -> of the seeds. A set may have no part of questions for the gate, or of final ones.
PARTS = {"train": "practice", "val": "gate", "validation": "gate", "test": "heldout", "final": "final"}
LAYOUTS = "problems.json, or what datasets saved of a DatasetDict, or train-*.parquet, validation-*, test-*"
MOST_TABLE_BYTES = 2**32  # of a table in memory
BATCH = 64  # rows of a table that are unpacked at once


def rows_of(folder: Path, answers: str) -> Iterator[tuple[str, Row]]:
    """(part, question) of each row with a picture. Raises UserError for a folder in no layout, and for a bad row."""
    if is_file(folder / "problems.json"):
        return _of_problems(folder, answers)
    if is_file(folder / "dataset_dict.json") or any(folder.rglob("*.parquet")):
        return _of_tables(folder, answers)
    raise UserError(f"no questions in {str(folder)!r}; valid: a folder with {LAYOUTS}")


def _of_problems(folder: Path, answers: str) -> Iterator[tuple[str, Row]]:
    path = folder / "problems.json"
    for name, values in _problems(path).items():
        title = f"row {shown(name, 60)} of {str(path)!r}"
        if not isinstance(values, dict):
            raise UserError(f"{title} is {shown(values, 60)}; valid: {_columns(answers)}")
        images = values.get("images") or values.get("image") or []
        images = [images] if isinstance(images, str) else images
        if not isinstance(images, list) or not all(isinstance(image, str) and image for image in images):
            raise UserError(f"{title} has image = {shown(images, 60)}; valid: a file's name, or several, or null")
        if images:
            part = values.get("split")
            if not isinstance(part, str) or part not in PARTS:
                raise unknown(f"split of {title},", part, PARTS)
            places = [(folder / "images" / part / name / image, folder / part / name / image) for image in images]
            files = [_existing(title, folder, some) for some in places]
            yield part, row(Record(title, values, _columns(answers)), answers, files)


def _problems(path: Path) -> dict[str, Any]:
    valid = "valid: as ScienceQA has it, id -> question"
    text = utf8(read(path), repr(str(path)))
    try:
        problems = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is not JSON: {first_line(error)}; {valid}") from error
    if not isinstance(problems, dict):
        raise UserError(f"{str(path)!r} holds a {type(problems).__name__}; {valid}")
    return problems


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a key that is given twice, of which json would take the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {shown(twice, 60)} is given twice")
    return values


def _of_tables(folder: Path, answers: str) -> Iterator[tuple[str, Row]]:
    for part, table in _tables(folder):
        if part not in PARTS:
            raise unknown(f"part of {str(folder)!r},", part, PARTS)
        where = f"part {part!r} of {str(folder)!r}"
        column = "images" if "images" in table.column_names else "image"
        if missing := {"question", "answer", column} - {*table.column_names}:
            lacks = f"{where} has no column {', '.join(sorted(missing))}"
            raise UserError(f"{lacks}; valid: {_columns(answers)}")
        if not _is_of_pictures(table.schema.field(column).type):
            kind = table.schema.field(column).type
            raise UserError(f"{where} has {column} of type {kind}; valid: pictures, as datasets stores them, or paths")
        texts = [name for name in ("question", "choices", "answer", "hint", "solution") if name in table.column_names]
        for i, values in enumerate(table.select(texts).to_pylist()):
            title = f"row {i} of {where}"
            if cells := _cells(table[column][i]):
                sources = [_source(title, cell, folder) for cell in cells]
                yield part, row(Record(title, values, _columns(answers)), answers, sources)


def _columns(answers: str) -> str:
    return "question, image or images, answer" + (", choices, and hint if there are any" * (answers == "choices"))


def _tables(folder: Path) -> Iterator[tuple[str, Any]]:
    """Part of the data -> pyarrow table, its pictures still on disk or encoded, of sound data."""
    if is_file(folder / "dataset_dict.json"):
        yield from _saved(folder)
        return
    for path in sorted(folder.rglob("*.parquet")):
        try:
            table = _unpacked(inside(folder, path))
            table.validate(full=True)
        except _broken() as error:
            raise UserError(f"{str(path)!r} cannot be read: {first_line(error)[:300]}; valid: Parquet") from error
        yield re.split(r"[-.]", path.name)[0], table


def _saved(folder: Path) -> Iterator[tuple[str, Any]]:
    from datasets import load_from_disk  # slow to import, and only needed here

    try:
        for part, rows in load_from_disk(str(folder)).items():
            table = rows.with_format("arrow")[:]
            table.validate(full=True)
            yield str(part), table
    except _broken() as error:
        valid = "valid: what datasets saved of a DatasetDict, whole"
        raise UserError(f"{str(folder)!r} cannot be read: {first_line(error)[:300]}; {valid}") from error


def _unpacked(path: Path) -> Any:
    """The table in a Parquet file. Raises ValueError where it grows, unpacked, beyond MOST_TABLE_BYTES."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches, size = [], 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, use_threads=False):
            size += batch.nbytes
            if size > MOST_TABLE_BYTES:
                raise ValueError(f"unpacked it has more than {MOST_TABLE_BYTES:,} bytes")
            batches.append(batch)
        return pa.Table.from_batches(batches, file.schema_arrow)


def _broken() -> tuple[type[Exception], ...]:
    """What pyarrow and datasets raise for files that are cut, damaged, or of another kind."""
    import pyarrow as pa

    builtin = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, NotImplementedError)
    return (*builtin, MemoryError, OverflowError, pa.ArrowException)


def _is_of_pictures(kind: Any) -> bool:
    """Whether a column holds pictures as `datasets` stores them, or their paths or bytes, or lists of these."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return {"bytes", "path"} <= set(fields) and _is_text(fields["path"]) and _is_bytes(fields["bytes"])
    return _is_text(kind) or _is_bytes(kind)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)


def _cells(cell: Any) -> list[Any]:
    """The pictures of a cell, which may hold none, one or a list."""
    import pyarrow as pa

    if isinstance(cell, pa.ListScalar | pa.LargeListScalar):
        return list(cell.values or ())
    return [cell] if cell.is_valid else []


def _source(title: str, cell: Any, folder: Path) -> Any:
    """Where a picture is that `datasets` wrote: in the cell, or in a file that it names."""
    import pyarrow as pa

    if not cell.is_valid:
        raise UserError(f"{title} has null among its images; valid: pictures, or null in the place of all")
    if isinstance(cell, pa.StructScalar):
        if cell["bytes"].is_valid:
            return cell["bytes"]
        cell = cell["path"]
    return cell if _is_bytes(cell.type) and cell.is_valid else _existing(title, folder, [folder / (cell.as_py() or "")])


def _existing(title: str, folder: Path, places: Sequence[Path]) -> Path:
    """The first of the places where there is a file, which must be inside the folder."""
    for place in places:
        if is_file(place):
            try:
                return inside(folder, place)
            except UserError as error:
                raise UserError(f"{title} names an image that is not in its set: {error}") from error
    valid = f"{' or '.join(shown(str(place)) for place in places)}, or null for a question without one"
    raise UserError(f"{title} names an image that is not there; valid: {valid}")
