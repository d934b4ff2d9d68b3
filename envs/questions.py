"""Questions about pictures as environments of one step: a picture, a question in words, one answer, right or wrong.

Multiple choice in the layout of ScienceQA (Lu et al., 2022, "Learn to Explain: Multimodal Reasoning via Thought Chains
for Science Question Answering"), and free answers, numbers with units, as in PHYSICS (Feng et al., 2025, "PHYSICS:
Benchmarking Foundation Models on University-Level Physics Problem Solving") where they are numbers: the columns are
`question`, `image` or `images`, and `answer`. A set of questions is a folder with one of these in it:

- `problems.json` as in ScienceQA's repository: id -> question, choices, answer (the right choice's number, from 0),
  hint, image, split (train, val, test); pictures at `images/SPLIT/ID/IMAGE` or `SPLIT/ID/IMAGE`;
- a `DatasetDict` that `datasets` saved (`save_to_disk`), its parts train, validation and test;
- Parquet files named after these parts, such as `train-00000-of-00001.parquet`.

A question without a picture is left out. The seed of a reset decides the question: practice asks those of train, the
gate those of validation, heldout those of test (`envs/splits.py`), in an order that is drawn once, over and over.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from string import ascii_letters, ascii_lowercase, digits
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from PIL import Image, ImageOps

from envs import quantities
from envs.errors import UserError, unknown
from envs.splits import SPLITS
from envs.task import Task

PARTS = {"train": "practice", "val": "gate", "validation": "gate", "test": "heldout"}  # of the data -> of the seeds
LAYOUTS = "problems.json, or what datasets saved of a DatasetDict, or train-*.parquet, validation-*, test-*"
VERB = "answer"
MAX_LENGTH = 40  # characters of a free answer
BACKGROUND = "white"


@dataclass(frozen=True)
class Row:
    """One question. name: for messages. answer: of choices the number of the right one, else a number with a unit.

    images: of each a file, or a scalar of pyarrow that holds one.
    """

    name: str
    question: str
    choices: tuple[str, ...]
    answer: int | str
    hint: str
    images: tuple[Any, ...]

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

    def _decoded(self, source: Any) -> Image.Image:
        data = source.read_bytes() if isinstance(source, Path) else source.as_py()
        try:
            image = Image.open(BytesIO(data)).convert("RGBA")
        except OSError as error:
            raise UserError(f"the image of {self.name} cannot be read: {error}; valid: a PNG or JPEG") from error
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")


# reading -------------------------------------------------------------------------------------------------------------


@cache
def load(folder: str, answers: str) -> dict[str, tuple[Row, ...]]:
    """practice, gate, heldout -> its questions, those with `choices` or a `free` answer, in the order that seeds ask.

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
        of_split[PARTS[part]].append(row)
    empty = [part for part, split in PARTS.items() if part != "val" and not of_split[split]]
    if empty:
        raise UserError(f"no questions with a picture in part {empty[0]!r} of {folder!r}; valid: some in each part")
    return {
        split: tuple(rows[i] for i in np.random.default_rng(0).permutation(len(rows)))
        for split, rows in of_split.items()
    }


def _of_problems(folder: Path, answers: str) -> Iterator[tuple[str, Row]]:
    path = folder / "problems.json"
    try:
        problems = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{str(path)!r} is not JSON: {error}; valid: as ScienceQA has it") from error
    for name, told in problems.items():
        images = told.get("images") or told.get("image") or ()
        images = (images,) if isinstance(images, str) else images
        part = told.get("split", "")
        if images:
            title = f"row {name!r} of {str(path)!r}"
            places = [(folder / "images" / part / name / image, folder / part / name / image) for image in images]
            if part not in PARTS:
                raise unknown(f"split of {title},", part, PARTS)
            yield part, _row(title, told, answers, [_existing(title, some) for some in places])


def _of_tables(folder: Path, answers: str) -> Iterator[tuple[str, Row]]:
    for part, table in _tables(folder):
        if part not in PARTS:
            raise unknown(f"part of {str(folder)!r},", part, PARTS)
        column = "images" if "images" in table.column_names else "image"
        if missing := {"question", "answer", column} - {*table.column_names}:
            told = f"part {part!r} of {str(folder)!r} has no column {', '.join(sorted(missing))}"
            raise UserError(f"{told}; valid: {_columns(answers)}")
        for i, told in enumerate(table.drop_columns([column]).to_pylist()):
            title = f"row {i} of part {part!r} of {str(folder)!r}"
            if cells := _cells(table[column][i]):
                yield part, _row(title, told, answers, [_source(title, cell, folder) for cell in cells])


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


def _row(title: str, told: Mapping[str, Any], answers: str, images: Sequence[Any]) -> Row:
    """Raises UserError for an answer that is none of the choices, or no quantity."""
    if missing := [name for name in ("question", "answer") if told.get(name) is None]:
        raise UserError(f"{title} has no {missing[0]!r}; valid: {_columns(answers)}")
    choices, answer = tuple(told.get("choices") or ()) if answers == "choices" else (), told["answer"]
    if answers == "free":
        try:
            quantities.in_base_units(answer := str(answer))
        except UserError as error:
            raise UserError(f"{title} has the answer {answer!r}: {error}") from error
    elif not 2 <= len(choices) <= len(ascii_lowercase):
        raise UserError(f"{title} has {len(choices)} choices; valid: 2 to {len(ascii_lowercase)}, or answers: free")
    elif answer not in range(len(choices)):
        raise UserError(f"{title} has the answer {answer!r}; valid: 0 to {len(choices) - 1}")
    return Row(title, told["question"], choices, answer, told.get("hint") or "", tuple(images))


# environments --------------------------------------------------------------------------------------------------------


class QuestionEnv(gym.Env[Any, Any], ABC):
    """One question an episode. Reward: 1 for the right answer, else 0; the one step terminates.

    The observation is the answer: privileged, for experts. A policy that looks is given `render()`, (image_size,
    image_size, 3) uint8, and `instruction`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 1}
    answers: ClassVar[str]

    def __init__(self, folder: str, image_size: int = 64, render_mode: str | None = None):
        """folder: see the module. Raises UserError as `load` does."""
        self.rows = load(folder, self.answers)
        self.image_size, self.render_mode = image_size, render_mode
        self.split, self.number, self.said = "practice", 0, ""

    # a kind of question says -------------------------------------------------------------------------------------
    @abstractmethod
    def is_right(self, action: Any) -> bool:
        """Whether an action is the right answer."""

    @abstractmethod
    def in_words(self, action: Any) -> str:
        """What an action answers."""

    @abstractmethod
    def expert(self) -> Any:
        """Privileged: the action that is right."""

    @abstractmethod
    def _state(self) -> Any:
        """The observation."""

    # gymnasium ---------------------------------------------------------------------------------------------------
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Without a seed, a question of practice. Raises UserError for a seed that is in no split."""
        super().reset(seed=seed)
        place = int(self.np_random.integers(len(SPLITS["practice"]))) if seed is None else seed
        self.split = next((split for split, whole in SPLITS.items() if place in whole), "")
        if not self.split:
            raise UserError(f"seed {seed} of a question; valid: 0 to {max(whole[-1] for whole in SPLITS.values())}")
        self.number = (place - SPLITS[self.split][0]) % len(self.rows[self.split])
        self.said = ""
        return self._state(), {"success": False, "is_success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Raises ValueError for an action outside the space, or for a second answer."""
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        if self.said:
            raise ValueError(f"answered before: {self.said}")
        self.said = f"answered {self.in_words(action)}"
        right = self.is_right(action)
        return self._state(), float(right), True, False, {"success": right, "is_success": right}

    def render(self) -> np.ndarray | None:
        return self.row.picture(self.image_size) if self.render_mode == "rgb_array" else None

    def view(self, size: int) -> np.ndarray:
        """(size, size, 3) uint8, for people."""
        return self.row.picture(size)

    # words -------------------------------------------------------------------------------------------------------
    @property
    def row(self) -> Row:
        return self.rows[self.split][self.number]

    @property
    def instruction(self) -> str:
        return self.row.instruction


class MultipleChoice(QuestionEnv):
    """Action: the number of a choice, among as many as any question has; a letter that this one lacks is wrong.

    Observation: the number of the right choice.
    """

    answers = "choices"

    def __init__(self, folder: str, image_size: int = 64, render_mode: str | None = None):
        super().__init__(folder, image_size, render_mode)
        self.action_space = self.observation_space = gym.spaces.Discrete(len(letters(self.rows)))

    def is_right(self, action: Any) -> bool:
        return int(action) == self.row.answer

    def in_words(self, action: Any) -> str:
        return ascii_lowercase[int(action)]

    def expert(self) -> np.int64:
        return np.int64(self.row.answer)

    def _state(self) -> np.int64:
        return np.int64(self.row.answer)


class FreeAnswer(QuestionEnv):
    """Action: text, right where it is the answer, in any units, to a relative `tolerance`.

    Observation: the right number in base units, (1,) float64.
    """

    answers = "free"

    def __init__(self, folder: str, image_size: int = 64, render_mode: str | None = None, tolerance: float = 0.01):
        super().__init__(folder, image_size, render_mode)
        self.tolerance = tolerance
        characters = frozenset(ascii_letters + digits + " .+-*/^%" + "µ·")
        self.action_space = gym.spaces.Text(MAX_LENGTH, min_length=0, charset=characters)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)

    def is_right(self, action: Any) -> bool:
        """What cannot be read is wrong."""
        try:
            return quantities.equal(action, self.row.answer, self.tolerance)
        except UserError:
            return False

    def in_words(self, action: Any) -> str:
        return str(action)

    def expert(self) -> str:
        return self.row.answer

    def _state(self) -> np.ndarray:
        return np.array([quantities.in_base_units(self.row.answer)[0]])


ENVIRONMENTS = {"choices": "HandEye/MultipleChoice-v0", "free": "HandEye/FreeAnswer-v0"}
gym.register(ENVIRONMENTS["choices"], entry_point=f"{__name__}:MultipleChoice")
gym.register(ENVIRONMENTS["free"], entry_point=f"{__name__}:FreeAnswer")


# tasks ---------------------------------------------------------------------------------------------------------------


def question_task(name: str, folder: str, answers: str, image_size: int = 64, **more: Any) -> Task:
    """The questions of a folder as a task. more: of the environment, such as `tolerance`. Raises as `load` does."""
    rows = load(folder, answers)
    return Task(
        name,
        ENVIRONMENTS[answers],
        "questions",
        "practice",
        {"folder": folder, "image_size": image_size, **more},
        image_size=image_size,
        actions=letters(rows) if answers == "choices" else units(rows),
        verb=VERB,
        starts={split: len(some) for split, some in rows.items()},
        words=words(folder, answers),
        proprioception=lambda env: env.unwrapped.said,
        expert=lambda env: ("", env.unwrapped.expert()),
    )


def letters(rows: Mapping[str, Sequence[Row]]) -> tuple[str, ...]:
    """The names of the choices, as many as any question has."""
    return tuple(ascii_lowercase[: max(len(row.choices) for row in _every(rows))])


def units(rows: Mapping[str, Sequence[Row]]) -> tuple[str, ...]:
    """What a free answer may be given in: common units, and whatever else the right answers are in."""
    own = {quantities.split(row.answer)[1] for row in _every(rows)} - {""}
    return (*quantities.COMMON, *sorted(own - set(quantities.COMMON)))


def words(folder: str, answers: str) -> tuple[str, ...]:
    """Every word, number and sign of a set's questions, choices, hints and answers: what a tokenizer should know."""
    rows = load(folder, answers)
    texts = [text for row in _every(rows) for text in (row.instruction, str(row.answer))]
    names = letters(rows) if answers == "choices" else units(rows)
    return tuple(sorted({VERB, "answered", *names, *re.findall(r"\w+|[^\w\s]+", " ".join(texts))}))


def _every(rows: Mapping[str, Iterable[Row]]) -> Iterator[Row]:
    for some in rows.values():
        yield from some
