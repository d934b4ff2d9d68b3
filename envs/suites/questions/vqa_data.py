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

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from string import ascii_lowercase

import numpy as np

from envs.errors import UserError, unknown
from envs.splits import SPLITS
from envs.suites.questions import units as quantities
from envs.suites.questions.layouts import PARTS, rows_of
from envs.suites.questions.rows import Row

OPTIONAL = ("val", "final")
VERB = "answer"  # before each answer
SAY = "say"  # before a choice whose letter is asked for


@cache
def load(folder: str, answers: str, solutions: bool = False) -> dict[str, tuple[Row, ...]]:
    """practice, gate, heldout, and final where there is such a part -> its questions, those with `choices` or a `free`
    answer, in the order that seeds ask; with `solutions`, none of practice without one.

    Raises UserError for a folder in no layout, and for a row, by its name, without what it needs. Every picture is
    decoded once, so that a damaged one is found before anything long starts.
    """
    if answers not in ("choices", "free"):
        raise unknown("kind of answers", answers, ("choices", "free"))
    rows = [*rows_of(Path(folder), answers)]
    for _, row in rows:
        row.check_pictures(decode=parent_process() is None)  # a worker's parent has decoded them
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
