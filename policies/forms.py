r"""Grammars in words, and texts drawn from them.

Regexes as languages and codecs write them: literals, escapes, `\d`, `[classes]`, groups of alternatives, `?`, `{m,n}`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from string import digits

import numpy as np

from envs.errors import UserError

NUMBER = re.compile(r"[+-]?\d+")
CLASS_PART = re.compile(r"(?P<first>\\.|[^\\])(-(?P<last>\\.|[^\\]))?", flags=re.DOTALL)  # `a`, `\-` or `a-z`
SHOWN = 8  # characters of a class that are listed in words


@dataclass(frozen=True)
class Characters:
    """One of these characters."""

    allowed: str


@dataclass(frozen=True)
class Choice:
    """One of several sequences."""

    options: tuple["Form", ...]


@dataclass(frozen=True)
class Repeat:
    """The part, `low` to `high` times."""

    part: "str | Characters | Choice"
    low: int
    high: int


Form = tuple[str | Characters | Choice | Repeat, ...]


@cache
def parse(regex: str) -> Form:
    """Raises UserError for a regex with other parts than those of the module's docstring."""
    choice, end = _choice(regex, 0)
    if end < len(regex):
        raise UserError(f"grammar {regex!r} has a part at {end} that cannot be said in words: {regex[end:][:9]!r}")
    return (choice,) if len(choice.options) > 1 else choice.options[0]


def _choice(regex: str, at: int) -> tuple[Choice, int]:
    """Alternatives from `at` to the end of their group or of the regex, and where that is."""
    options, parts = [], []
    while at < len(regex) and regex[at] != ")":
        if regex[at] == "|":
            options.append(_merged(parts))
            parts, at = [], at + 1
            continue
        part, at = _part(regex, at)
        if repeated := re.match(r"\?|\{(\d+),(\d+)\}|\{(\d+)\}", regex[at:]):
            low, high, both = repeated.groups()
            part = Repeat(part, int(low or both or 0), int(high or both or 1))
            at += repeated.end()
        parts.append(part)
    return Choice((*options, _merged(parts))), at


def _part(regex: str, at: int) -> tuple[str | Characters | Choice, int]:
    if regex[at] == "(":
        choice, end = _choice(regex, at + 1)
        return choice, end + 1
    if regex[at] == "[" and (inner := re.match(r"\[(?!\^)((?:\\.|[^\]\\])+)\]", regex[at:], flags=re.DOTALL)):
        return Characters(_listed(inner[1])), at + inner.end()
    if regex[at : at + 2] == r"\d":
        return Characters(digits), at + 2
    if escaped := re.match(r"\\([^a-zA-Z])", regex[at:], flags=re.DOTALL):
        return escaped[1], at + 2
    if regex[at] in "*+.^$[\\":
        raise UserError(f"grammar {regex!r} has {regex[at]!r} at {at}; valid: literals, groups, classes, ? and {{m,n}}")
    return regex[at], at + 1


def _listed(inside: str) -> str:
    """The characters of a class, given what is between its brackets."""
    listed = ""
    for token in CLASS_PART.finditer(inside):
        first, last = token["first"].removeprefix("\\"), (token["last"] or token["first"]).removeprefix("\\")
        listed += "".join(map(chr, range(ord(first), ord(last) + 1)))
    return listed


def _merged(parts: Sequence[str | Characters | Choice | Repeat]) -> Form:
    """Neighbouring literals as one."""
    merged: list[str | Characters | Choice | Repeat] = []
    for part in parts:
        if merged and isinstance(part, str) and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def in_words(regex: str) -> str:
    """`move (left|right)` -> `move <left|right>`. A run of numbers becomes a range, `<-4..+4>`, and what may be left
    out `[...]`."""
    return _said(parse(regex))


def _said(form: Form) -> str:
    words, i = [], 0
    while i < len(form):
        after = form[i + 1] if i + 1 < len(form) else None
        if form[i] == Characters("+-") and isinstance(after, Choice) and (run := _run(after)):
            words.append(f"<-{run[1]}..+{run[1]}>")
            i += 1
        else:
            words.append(_part_said(form[i]))
        i += 1
    return "".join(words)


def _part_said(part: str | Characters | Choice | Repeat) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Characters):
        if part.allowed == digits:
            return "<0..9>"
        return f"<{'|'.join(part.allowed)}>" if len(part.allowed) <= SHOWN else "<character>"
    if isinstance(part, Repeat):
        return _repeat_said(part)
    if run := _run(part):
        return f"<{run[0]}..{run[1]}>"
    said = "|".join(map(_said, part.options))
    return f"<{said}>" if len(part.options) > 1 else said


def _repeat_said(part: Repeat) -> str:
    if (part.low, part.high) == (0, 1):
        return f"[{_part_said(part.part)}]"
    span = str(part.low) if part.low == part.high else f"{part.low} to {part.high}"
    if part.part == Characters(digits):
        return f"<{span} digits>"
    if isinstance(part.part, Characters):
        return f"<{span} characters>"
    return f"<{span} times {_part_said(part.part)}>"


def _run(choice: Choice) -> tuple[str, str] | None:
    """The first and the last of alternatives that are three or more consecutive whole numbers."""
    words = [option[0] if len(option) == 1 else None for option in choice.options]
    if len(words) < 3 or not all(isinstance(word, str) and NUMBER.fullmatch(word) for word in words):
        return None
    return (words[0], words[-1]) if all(int(b) - int(a) == 1 for a, b in pairwise(words)) else None


def draw(regex: str, rng: np.random.Generator) -> str:
    """A random text of a grammar: each alternative equally likely."""
    return _drawn(parse(regex), rng)


def _drawn(form: Form, rng: np.random.Generator) -> str:
    return "".join(_part_drawn(part, rng) for part in form)


def _part_drawn(part: str | Characters | Choice | Repeat, rng: np.random.Generator) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Characters):
        return part.allowed[rng.integers(len(part.allowed))]
    if isinstance(part, Choice):
        return _drawn(part.options[rng.integers(len(part.options))], rng)
    return "".join(_part_drawn(part.part, rng) for _ in range(rng.integers(part.low, part.high + 1)))
