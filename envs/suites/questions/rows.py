"""One question about pictures, its record checked by schema: the row, the key and its value are named."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from string import ascii_letters, ascii_lowercase, digits
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from envs.errors import UserError, shown
from envs.suites.questions import units as quantities
from envs.suites.questions.pictures import BACKGROUND, MOST_PIXELS, decoded, opened, read

MAX_LENGTH = 40  # characters of a free answer
CHARACTERS = frozenset(ascii_letters + digits + " .+-*/^%" + "µ·")  # of a free answer
MOST_UNIT = MAX_LENGTH - len("-9999.9999999e+99 ")  # characters of a unit: with any number before it, it can be said
MOST_TEXT = 20_000  # characters of a question, a hint, a choice or a solution


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
        images = self._each(decoded)
        height = max(image.height for image in images)
        images = [image.resize((_width(image, height), height)) for image in images]
        whole = Image.new("RGB", (sum(image.width for image in images), height), BACKGROUND)
        left = 0
        for image in images:
            whole.paste(image, (left, 0))
            left += image.width
        return np.array(ImageOps.pad(whole, (size, size), color=BACKGROUND))

    def check_pictures(self, decode: bool) -> None:
        """Raises UserError for a file that is no picture, or pictures that are too large beside each other.

        decode: every pixel, else the headers alone.
        """
        images = self._each(decoded if decode else opened)
        height = max(image.height for image in images)
        if (pixels := height * sum(_width(image, height) for image in images)) > MOST_PIXELS:
            raise UserError(
                f"the images of {self.name} have {pixels:,} pixels side by side; valid: at most {MOST_PIXELS:,}"
            )

    def digest(self) -> bytes:
        """16 bytes (BLAKE2b) of what is asked, its right answer, and the encoded pictures."""
        digest = blake2b(f"{self.instruction}\0{self.answer}\0".encode(), digest_size=16)
        for source in self.images:
            digest.update(_encoded(source))
        return digest.digest()

    def _each(self, read_as: Any) -> list[Image.Image]:
        images = []
        for source in self.images:
            try:
                images.append(read_as(_encoded(source)))
            except UserError as error:
                where = f"{str(source)!r}: " if isinstance(source, Path) else ""
                raise UserError(f"the image of {self.name} cannot be read: {where}{error}") from error
        return images


def _width(image: Image.Image, height: int) -> int:
    """Of the image scaled to this height."""
    return max(1, round(image.width * height / image.height))


def _encoded(source: Any) -> bytes:
    return read(source) if isinstance(source, Path) else source.as_py()


@dataclass(frozen=True)
class Record:
    """What a set says of a question. title: of the row, for messages. valid: the columns, for messages."""

    title: str
    values: Mapping[str, Any]
    valid: str

    def text(self, key: str, needed: bool = False) -> str:
        """Raises UserError for a value that is no text, or for none where one is needed."""
        value = self.values.get(key)
        if value is None or value == "":
            if not needed:
                return ""
            raise UserError(f"{self.title} has no {key!r}; valid: {self.valid}")
        return self._checked(key, value)

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """Raises UserError for fewer than two, more than letters, or one that is no text."""
        value = self.values.get("choices")
        choices = value if isinstance(value, list) else []
        if not 2 <= len(choices) <= len(ascii_lowercase):
            have = f"{len(choices)} choices" if isinstance(value, list | None) else f"choices = {shown(value)}"
            raise UserError(f"{self.title} has {have}; valid: 2 to {len(ascii_lowercase)}, or answers: free")
        return tuple(self._checked(f"choices[{i}]", choice) for i, choice in enumerate(choices))

    def number(self) -> int:
        """The right choice's. Raises UserError for any other."""
        answer = self.values.get("answer")
        if answer is None:
            raise UserError(f"{self.title} has no 'answer'; valid: {self.valid}")
        if isinstance(answer, bool) or not isinstance(answer, int | float) or answer not in range(len(self.choices)):
            raise UserError(f"{self.title} has the answer {shown(answer)}; valid: 0 to {len(self.choices) - 1}")
        return int(answer)

    def quantity(self) -> str:
        """The free answer. Raises UserError for what is no finite number, with a unit or without, or cannot be said."""
        answer = self.values.get("answer")
        if answer is None:
            raise UserError(f"{self.title} has no 'answer'; valid: {self.valid}")
        if isinstance(answer, bool) or not isinstance(answer, str | int | float):
            raise UserError(f"{self.title} has the answer {shown(answer)}; valid: {quantities.VALID}")
        text = self._checked("answer", str(answer))
        try:
            number, _ = quantities.in_base_units(text)
            unit = quantities.split(text)[1]
        except UserError as error:
            raise UserError(f"{self.title} has the answer {shown(text)}: {error}") from error
        said = len(text) <= MAX_LENGTH and len(unit) <= MOST_UNIT and set(text) <= CHARACTERS
        if not said or not math.isfinite(number):
            raise UserError(
                f"{self.title} has the answer {shown(text)}; valid: a finite number, at most {MAX_LENGTH} characters, "
                f"{MOST_UNIT} of them the unit's"
            )
        return text

    def _checked(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise UserError(f"{self.title} has {key} = {shown(value)}; valid: text")
        if len(value) > MOST_TEXT:
            raise UserError(f"{self.title} has {key} of {len(value):,} characters; valid: at most {MOST_TEXT:,}")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise UserError(f"{self.title} has {key} = {shown(value)}, with half of a character; valid: text")
        return value


def row(record: Record, answers: str, images: Sequence[Any]) -> Row:
    """Raises UserError for a value of another kind than the schema has, naming row, key and value."""
    question = record.text("question", needed=True)
    solution = " ".join(record.text("solution").split())
    choices, answer = (record.choices, record.number()) if answers == "choices" else ((), record.quantity())
    return Row(record.title, question, choices, answer, record.text("hint"), tuple(images), solution)
