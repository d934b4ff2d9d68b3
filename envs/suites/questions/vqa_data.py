"""Sets of questions about pictures, read: of multiple choice, and with free answers, numbers with units.

Multiple choice in the layout of ScienceQA (Lu et al., 2022, "Learn to Explain: Multimodal Reasoning via Thought Chains
for Science Question Answering"), and free answers, as in PHYSICS (Feng et al., 2025, "PHYSICS: Benchmarking Foundation
Models on University-Level Physics Problem Solving") where they are numbers: the columns are `question`, `image` or
`images`, and `answer`. A set is a folder with one of these in it:

- `problems.json` as in ScienceQA's repository: id -> question, choices, answer (the right choice's number, from 0),
  hint, image, split (train, val, test), solution; pictures at `images/SPLIT/ID/IMAGE` or `SPLIT/ID/IMAGE`;
- a `DatasetDict` that `datasets` saved (`save_to_disk`), its parts train, validation and test;
- Parquet files named after these parts, such as `train-00000-of-00001.parquet`.

A set may have a part `final` too, for the split of that name. A question without a picture (null) is left out, and,
where answers are to begin with a solution, one of train without.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from envs.errors import UserError, unknown
from envs.splits import SPLITS
from envs.suites.questions import units as quantities

# Of the data -> of the seeds. A set may have no part of questions for the gate, or of final ones.
PARTS = {"train": "practice", "val": "gate", "validation": "gate", "test": "heldout", "final": "final"}
OPTIONAL = ("val", "final")
LAYOUTS = "problems.json, or what datasets saved of a DatasetDict, or train-*.parquet, validation-*, test-*"
BACKGROUND = "white"
VERB = "answer"  # before each answer
SAY = "say"  # before a choice whose letter is asked for


@dataclass(frozen=True)
class Row:
    """One question. name: for messages. answer: of choices the number of the right one, else a number with a unit.

    images: of each a file, or a scalar of pyarrow that holds one. solution: how the answer comes about, if it says so.
    """

    name: str
    question: str
    choices: tuple[str, ...]
    answer: int | str
    hint: str
    images: tuple[Any, ...]
    solution: str = ""

    @property
    def instruction(self) -> str:
        """What gives the context, the question, and the choices by their letters, in one line."""
        choices = (f"({letter}) {choice}" for letter, choice in zip(ascii_lowercase, self.choices, strict=False))
        return " ".join(" ".join((self.hint, self.question, *choices)).split())

    def picture(self, size: int) -> np.ndarray:
        """(size, size, 3) uint8: the image, or several side by side, scaled as a whole, on white.

        Raises UserError for a file that is no image.
        """
        images = [self._decoded(source) for source in self.images]
        height = max(image.height for image in images)
        images = [image.resize((max(1, round(image.width * height / image.height)), height)) for image in images]
        whole = Image.new("RGB", (sum(image.width for image in images), height), BACKGROUND)
        left = 0
        for image in images:
            whole.paste(image, (left, 0))
            left += image.width
        return np.array(ImageOps.pad(whole, (size, size), color=BACKGROUND))

    def digest(self) -> bytes:
        """16 bytes (BLAKE2b) of what is asked, its right answer, and the encoded pictures."""
        digest = blake2b(f"{self.instruction}\0{self.answer}\0".encode(), digest_size=16)
        for source in self.images:
            digest.update(_encoded(source))
        return digest.digest()

    def _decoded(self, source: Any) -> Image.Image:
        try:
            image = Image.open(BytesIO(_encoded(source))).convert("RGBA")
        except OSError as error:
            raise UserError(f"the image of {self.name} cannot be read: {error}; valid: a PNG or JPEG") from error
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")


def _encoded(source: Any) -> bytes:
    return source.read_bytes() if isinstance(source, Path) else source.as_py()


@cache
def load(folder: str, answers: str, solutions: bool = False) -> dict[str, tuple[Row, ...]]:
    """practice, gate, heldout, and final where there is such a part -> its questions, those with `choices` or a `free`
    answer, in the order that seeds ask; with `solutions`, none of practice without one.

    Raises UserError for a folder in no layout, and for a row, by its name, without what it needs.
    """
    path = Path(folder)
    if answers not in ("choices", "free"):
        raise unknown("kind of answers", answers, ("choices", "free"))
    if (path / "problems.json").is_file():
        rows = _of_problems(path, answers)
    elif (path / "dataset_dict.json").is_file() or list(path.rglob("*.parquet")):
        rows = _of_tables(path, answers)
    else:
        raise UserError(f"no questions in {folder!r}; valid: a folder with {LAYOUTS}")
    of_split: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for part, row in rows:
        if row.solution or not solutions or part != "train":
            of_split[PARTS[part]].append(row)
    empty = [part for part, split in PARTS.items() if part not in OPTIONAL and not of_split[split]]
    if empty:
        needed = "a picture and a solution" if solutions and empty[0] == "train" else "a picture"
        raise UserError(f"no questions with {needed} in part {empty[0]!r} of {folder!r}; valid: some in each part")
    return {
        split: tuple(rows[i] for i in np.random.default_rng(0).permutation(len(rows)))
        for split, rows in of_split.items()
        if rows or split != "final"
    }


def _of_problems(folder: Path, answers: str) -> Iterator[tuple[str, Row]]:
    path = folder / "problems.json"
    try:
        problems = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{str(path)!r} is not JSON: {error}; valid: as ScienceQA has it") from error
    for name, record in problems.items():
        images = record.get("images") or record.get("image") or ()
        images = (images,) if isinstance(images, str) else images
        part = record.get("split", "")
        if images:
            title = f"row {name!r} of {str(path)!r}"
            places = [(folder / "images" / part / name / image, folder / part / name / image) for image in images]
            if part not in PARTS:
                raise unknown(f"split of {title},", part, PARTS)
            yield part, _row(title, record, answers, [_existing(title, some) for some in places])


def _of_tables(folder: Path, answers: str) -> Iterator[tuple[str, Row]]:
    for part, table in _tables(folder):
        if part not in PARTS:
            raise unknown(f"part of {str(folder)!r},", part, PARTS)
        column = "images" if "images" in table.column_names else "image"
        if missing := {"question", "answer", column} - {*table.column_names}:
            lacks = f"part {part!r} of {str(folder)!r} has no column {', '.join(sorted(missing))}"
            raise UserError(f"{lacks}; valid: {_columns(answers)}")
        for i, record in enumerate(table.drop_columns([column]).to_pylist()):
            title = f"row {i} of part {part!r} of {str(folder)!r}"
            if cells := _cells(table[column][i]):
                yield part, _row(title, record, answers, [_source(title, cell, folder) for cell in cells])


def _columns(answers: str) -> str:
    return "question, image or images, answer" + (", choices, and hint if there are any" * (answers == "choices"))


def _tables(folder: Path) -> Iterator[tuple[str, Any]]:
    """Part of the data -> pyarrow table, its pictures still on disk or encoded."""
    if (folder / "dataset_dict.json").is_file():
        from datasets import load_from_disk  # slow to import, and only needed here

        for part, rows in load_from_disk(str(folder)).items():
            yield str(part), rows.with_format("arrow")[:]
        return
    import pyarrow.parquet as pq

    for path in sorted(folder.rglob("*.parquet")):
        yield re.split(r"[-.]", path.name)[0], pq.read_table(path)


def _cells(cell: Any) -> list[Any]:
    """The pictures of a cell, which may hold none, one or a list."""
    import pyarrow as pa

    if isinstance(cell, pa.ListScalar | pa.LargeListScalar):
        return list(cell.values or ())
    return [cell] if cell.is_valid else []


def _source(title: str, cell: Any, folder: Path) -> Any:
    """Where a picture is that `datasets` wrote: in the cell, or in a file that it names."""
    import pyarrow as pa

    if isinstance(cell, pa.StructScalar):
        if cell["bytes"].is_valid:
            return cell["bytes"]
        cell = cell["path"]
    return cell if pa.types.is_binary(cell.type) else _existing(title, [folder / (cell.as_py() or "")])


def _existing(title: str, places: Sequence[Path]) -> Path:
    """The first of the places where there is a file."""
    for place in places:
        if place.is_file():
            return place
    valid = f"{' or '.join(repr(str(place)) for place in places)}, or null for a question without one"
    raise UserError(f"{title} names an image that is not there; valid: {valid}")


def _row(title: str, record: Mapping[str, Any], answers: str, images: Sequence[Any]) -> Row:
    """Raises UserError for an answer that is none of the choices, or no quantity."""
    if missing := [name for name in ("question", "answer") if record.get(name) is None]:
        raise UserError(f"{title} has no {missing[0]!r}; valid: {_columns(answers)}")
    choices, answer = tuple(record.get("choices") or ()) if answers == "choices" else (), record["answer"]
    if answers == "free":
        try:
            quantities.in_base_units(answer := str(answer))
        except UserError as error:
            raise UserError(f"{title} has the answer {answer!r}: {error}") from error
    elif not 2 <= len(choices) <= len(ascii_lowercase):
        raise UserError(f"{title} has {len(choices)} choices; valid: 2 to {len(ascii_lowercase)}, or answers: free")
    elif answer not in range(len(choices)):
        raise UserError(f"{title} has the answer {answer!r}; valid: 0 to {len(choices) - 1}")
    solution = " ".join((record.get("solution") or "").split())
    return Row(title, record["question"], choices, answer, record.get("hint") or "", tuple(images), solution)


def letters(rows: Mapping[str, Sequence[Row]]) -> tuple[str, ...]:
    """The names of the choices, as many as any question has."""
    return tuple(ascii_lowercase[: max(len(row.choices) for row in _every(rows))])


def units(rows: Mapping[str, Sequence[Row]]) -> tuple[str, ...]:
    """What a free answer may be given in: common units, and whatever else the right answers are in."""
    own = {quantities.split(row.answer)[1] for row in _every(rows)} - {""}
    return (*quantities.COMMON, *sorted(own - set(quantities.COMMON)))


def words(folder: str, answers: str, solutions: bool = False) -> tuple[str, ...]:
    """Every word, number and sign of a set's questions, choices, hints and answers, and of its solutions if they are
    said: what a tokenizer should know."""
    rows = load(folder, answers, solutions)
    texts = [text for row in _every(rows) for text in (row.instruction, str(row.answer), row.solution * solutions)]
    names = letters(rows) if answers == "choices" else units(rows)
    return tuple(sorted({VERB, SAY, "answered", *names, *re.findall(r"\w+|[^\w\s]+", " ".join(texts))}))


def _every(rows: Mapping[str, Iterable[Row]]) -> Iterator[Row]:
    for some in rows.values():
        yield from some
