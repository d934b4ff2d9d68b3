"""The numbers of `sees`, as a file gives them: each comes from somewhere, and is put into a word in one of four ways.

sees:
  cart: [observation.0, {of: observation.1, high: 2.0, levels: 8, signed: true, unit: m/s}]
  arm: [{body: gripper, of: [x, y]}]
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import pi
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass as validated

from envs.declared.sources import EXAMPLES, KINDS, Source, sources
from envs.errors import UserError, shown
from envs.language import Bins, Quantisation, SignedLevels, Values, Whole
from envs.validation import STRICT, checked

BINS = 32  # of a number between two bounds, where a file does not say
LEVELS = 16  # on each side of zero, likewise
MOST_WORDS = 512  # of one number
AUTO = "auto"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of a part: one word of a thought
Amount = Annotated[int, Field(ge=1, le=MOST_WORDS)]
Several = BeforeValidator(lambda one: one if isinstance(one, list) else [one])


@validated(frozen=True, config=STRICT)
class Form:
    """How a number is put into a word. Without a range it is measured in play.

    low, high, bins: one of so many equal bins between bounds. signed, high, levels: a signed level from zero, at most
    so many. whole: a whole number from `low` to `high` as itself. values: the place of the nearest, from 0. angle:
    [rad], brought into a full turn around 0 first. missing: the number where `info` does not have it. name, unit: for
    the legend.
    """

    low: float | None = None
    high: float | None = None
    bins: Amount | None = None
    signed: bool | None = None
    levels: Amount | None = None
    whole: bool = False
    values: Annotated[tuple[float, ...], Field(min_length=2, max_length=MOST_WORDS)] | None = None
    angle: bool = False
    missing: float | None = None
    name: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        """Raises UserError for keys that do not go together, and for bounds that are none."""
        ways = {"bins": self.bins, "levels": self.levels, "whole": self.whole, "values": self.values}
        given = [name for name, value in ways.items() if value]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} are given; valid: one of {', '.join(ways)}")
        if self.values:
            if self.low is not None or self.high is not None or self.signed:
                raise UserError("values and a range are given; valid: values alone")
            if list(self.values) != sorted(set(self.values)):
                raise UserError(f"values = {shown(list(self.values))}; valid: different numbers, the least first")
        elif self.is_signed:
            if self.bins or self.whole or self.signed is False:
                raise UserError("a signed number has levels; valid: high and levels, or signed: false, low, high, bins")
            if self.low is not None or (self.high is not None and self.high <= 0):
                raise UserError(f"low = {self.low}, high = {self.high}; valid for levels: high alone, above 0")
        elif (self.low is None) != (self.high is None):
            here, there = ("low", "high") if self.high is None else ("high", "low")
            raise UserError(f"{here} is given without {there}; valid: both, neither, or high with signed: true")
        elif self.low is not None:
            if self.low >= self.high:
                raise UserError(f"low = {self.low:g}, high = {self.high:g}; valid: low below high")
            if self.whole and (self.low % 1 or self.high % 1 or self.high - self.low >= MOST_WORDS):
                raise UserError(f"whole, low = {self.low:g}, high = {self.high:g}; valid: at most {MOST_WORDS} numbers")

    @property
    def is_signed(self) -> bool:
        return bool(self.signed or self.levels)

    def quantisation(self) -> Quantisation | None:
        """None where the range is to be measured."""
        if self.values:
            return Values(tuple(self.values))
        if self.is_signed:
            high = pi if self.high is None and self.angle else self.high
            return None if high is None else SignedLevels(high, self.levels or LEVELS)
        low, high = (-pi, pi) if self.low is None and self.angle else (self.low, self.high)
        if low is None:
            return None
        return Whole(int(low), int(high)) if self.whole else Bins(low, high, self.bins or BINS)

    def given(self) -> dict[str, Any]:
        """The keys that differ from what they are when they are left out."""
        fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in fields.items() if value not in (None, "") and value is not False} | (
            {"signed": False} if self.signed is False else {}
        )


@validated(frozen=True, config=STRICT)
class Entry(Form):
    """The long form. of: a source, or several; of a body, site, geom or joint, what of it."""

    of: Annotated[tuple[str, ...], Several] = ()
    body: str = ""
    site: str = ""
    geom: str = ""
    joint: str = ""
    camera: str = ""


@dataclass(frozen=True)
class Number:
    """One number of a part: its source and its form."""

    source: Source
    form: Form

    @property
    def quantisation(self) -> Quantisation | None:
        """None where the range is to be measured. A place in a picture is from 0 to 1."""
        form = self.form
        is_free = form.low is None and not (form.is_signed or form.values)
        if is_free and self.source.path in (("column",), ("row",)) and self.source.in_picture:
            return Bins(0.0, 1.0, form.bins or BINS)
        return form.quantisation()


Parts = Mapping[str, tuple[Number, ...]]


def parts_of(given: Any, where: str = "sees") -> Parts:
    """What a file gives, checked. where: the key, in errors. Raises UserError naming the part, the place in it, and the
    valid keys."""
    if not isinstance(given, dict) or not given:
        raise UserError(f"{where} = {shown(given)}; valid: parts, such as `ball: [observation.0, info.y]`, or {AUTO}")
    return {name: _numbers(name, entries, where) for name, entries in given.items()}


def _numbers(name: Any, entries: Any, where: str) -> tuple[Number, ...]:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(f"{where} has a part {shown(name)}; valid: one word of letters, digits and _, as left_arm")
    entries = entries if isinstance(entries, list) else [entries]
    if not entries:
        raise UserError(f"{where}.{name} has no numbers; valid: some, such as [observation.0]")
    numbers: list[Number] = []
    for i, entry in enumerate(entries):
        try:
            numbers += _expanded(entry)
        except UserError as error:
            raise UserError(f"{where}.{name}.{i}: {error}") from error
    return tuple(numbers)


def _expanded(given: Any) -> Iterator[Number]:
    if isinstance(given, str):
        given = {"of": given}
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise UserError(f"{shown(given)}; valid: a source, as observation.0, or a mapping, as {{of: observation.0}}")
    entry = checked(Entry, given)
    texts = _texts(entry)
    form = Form(**{key: getattr(entry, key) for key in Form.__dataclass_fields__})
    for text in texts:
        for source in sources(text, entry.camera):
            if entry.camera and not source.in_picture:
                raise UserError(f"{text!r} has a camera; valid: column, row or depth of a body, site or geom")
            if form.missing is not None and not source.of_info:
                raise UserError(f"{text!r} has a number for where it is missing; valid: of info alone")
            yield Number(source, form)


def _texts(entry: Entry) -> tuple[str, ...]:
    """The sources of an entry in their short form."""
    named = {kind: name for kind in KINDS if (name := getattr(entry, kind))}
    if len(named) > 1 or not (named or entry.of):
        what = f"{' and '.join(named)} are given" if named else "no source is given"
        raise UserError(f"{what}; valid: of, such as {EXAMPLES}, or one of {', '.join(KINDS)}")
    if not named:
        return entry.of
    ((kind, name),) = named.items()
    return tuple(f"{kind}.{name}.{what}" for what in entry.of or (("qpos",) if kind == "joint" else ("x", "y", "z")))
