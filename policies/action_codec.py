"""Action <-> text: one object encodes, decodes and gives the grammar of an answer.

Each action codec has two: `regex` of an action, `instead_regex` of what `instead` says.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from envs.errors import UserError, shown
from envs.foreign.action_names import own_names
from envs.foreign.actions import flattened, rebuilt, same
from envs.foreign.spaces import check_actions, leaves, parts_of, sizes_of
from envs.suites.questions import units as quantities
from envs.task import DECLARED, IMAGE_SIZE, ActionWords, Task

SAME, OTHER = COMPARED = ("same", "other")  # of actions that have no distance
MOST_LEVELS = 999  # on an axis: each is a word of the grammar
BETWEEN = "; "  # of the parts of an answer
T = TypeVar("T")


class BoxCodec:
    """A bounded continuous action of d axes as `move +3 -1`: signed whole steps on each axis, zero in the middle. An
    array of several dimensions is said row by row.

    With n = levels // 2, `+n` is the action's upper bound, `-n` its lower, `+0` halfway. Of whole numbers, whose levels
    are cut off towards zero, several levels may be the same action.
    """

    def __init__(self, space: gym.spaces.Box, levels: int):
        """Raises UserError for an unbounded space, and an even number of levels or too many."""
        check_actions(space)
        if not 3 <= levels <= MOST_LEVELS or levels % 2 == 0:
            raise UserError(f"levels = {levels}; valid: an odd number of at least 3, at most {MOST_LEVELS}")
        self.space, self.n = space, levels // 2
        self._low, self._high = space.low.ravel(), space.high.ravel()
        low, high = self._low.astype(np.float64) / 2, self._high.astype(np.float64) / 2  # halves: bounds may be huge
        self._middle, self._unit = high + low, (high - low) / self.n
        self._unit[self._unit == 0] = 1.0  # an axis that cannot move is at its zero
        self.words = self.vocabulary = tuple(f"{k:+d}" for k in range(-self.n, self.n + 1))
        self.regex = "move" + self._steps(self.n)
        self.instead_regex = self.regex + self._steps(2 * self.n)

    def _steps(self, most: int) -> str:
        words = "|".join(re.escape(f"{k:+d}") for k in range(-most, most + 1))
        return f" ({words})" * self._low.size

    def encode(self, action: np.ndarray) -> str:
        """An action -> text, by the nearest level."""
        action = np.asarray(action, np.float64).ravel()
        if self.space.dtype.kind == "f":
            steps = np.rint((action - self._middle) / self._unit).astype(int)
        else:
            levels = np.array(sorted(range(-self.n, self.n + 1), key=abs))  # of the same action, the one nearest to 0
            steps = levels[np.abs(self._actions(levels[:, None]).astype(np.float64) - action).argmin(axis=0)]
        return "move " + " ".join(f"{k:+d}" for k in np.clip(steps, -self.n, self.n))

    def decode(self, text: str) -> np.ndarray:
        """Text -> an action of the space. Raises UserError, naming the text and the valid form."""
        _check(self.regex, text, "action")
        return self.meant(text.split()[1:])

    def _actions(self, steps: np.ndarray) -> np.ndarray:
        """(..., d) levels -> (..., d) numbers."""
        return (self._middle + steps * self._unit).clip(self._low, self._high).astype(self.space.dtype)

    @property
    def choices(self) -> list[tuple[str, ...]]:
        """The words of each axis."""
        return [self.words] * self._low.size

    def said(self, action: Any) -> list[str]:
        """The word of each axis."""
        return self.encode(action).split()[1:]

    def meant(self, words: Sequence[str]) -> np.ndarray:
        """The inverse of `said`."""
        return self._actions(np.array(list(map(int, words)))).reshape(self.space.shape)

    def instead(self, text: str, better: str) -> str:
        """The better of two actions, and its difference in levels on each axis: `move -2 +4 -1 +8`.

        Raises UserError where one does not parse.
        """
        self.decode(text), self.decode(better)
        farther = (int(b) - int(a) for a, b in zip(text.split()[1:], better.split()[1:], strict=True))
        return f"{better} {' '.join(f'{k:+d}' for k in farther)}"


class DiscreteCodec:
    """One of n actions by its name, after a verb: `move left`."""

    def __init__(self, space: gym.spaces.Discrete, names: Sequence[str] = (), verb: str = "move"):
        """Names: of the actions, in their order; without any, their numbers. Raises UserError for another number of
        names, for one given twice, and for one that is no name."""
        check_actions(space)
        for name in names:
            check_name(name)
        names = tuple(names) or tuple(map(str, range(space.n)))
        if len(names) != space.n or len(set(names)) != len(names):
            raise UserError(f"actions {', '.join(names)}; valid: {space.n} different names, one for each of {space}")
        self.space, self.words, self.verb = space, names, verb
        self.vocabulary = (verb, *names, *COMPARED)
        self.regex = f"{verb} ({'|'.join(map(re.escape, names))})"
        self.instead_regex = f"{self.regex} ({'|'.join(COMPARED)})"

    def encode(self, action: int) -> str:
        return f"{self.verb} {self.words[int(action) - int(self.space.start)]}"

    def decode(self, text: str) -> np.int64:
        """Text -> an action of the space. Raises UserError, naming the text and the valid form."""
        _check(self.regex, text, "action")
        return self.space.start + np.int64(self.words.index(text.removeprefix(f"{self.verb} ")))

    def instead(self, text: str, better: str) -> str:
        """The better of two actions, and whether both are the same: `move left same`.

        Raises UserError where one does not parse.
        """
        return _same_or_other(self, text, better)


class StructuredCodec:
    """An action of several parts as several words, `move camera +3 -1 fire 1`: of a MultiDiscrete or MultiBinary the
    choice on each axis, of a Dict each key and then its part, of a Tuple one part after the other.

    The parts have fixed places: whatever the words, an answer is read in one way. White space in a key is said as `_`.
    """

    def __init__(self, space: gym.Space, levels: int, names: Sequence[str] = ()):
        """names: of the axes of a MultiDiscrete or MultiBinary, each said before its choice.

        Raises UserError for a space without words, for an even number of levels or too many, and for names that are
        none, are given twice, or are of another number than the axes.
        """
        check_actions(space)
        for name in names:
            check_name(name)
        sizes = sizes_of(space)
        if names and (sizes is None or len(names) != sizes.size or len(set(names)) != len(names)):
            valid = (
                "none, its parts have names" if sizes is None else f"{sizes.size} different names, one for each axis"
            )
            raise UserError(f"actions {', '.join(names)} of {shown(space)}; valid: {valid}")
        self.space, parts = space, [part for _, part in leaves(space)]
        self._fields = [BoxCodec(p, levels) if isinstance(p, gym.spaces.Box) else _Choices(p) for p in parts]
        self.n = levels // 2 if any(isinstance(field, BoxCodec) for field in self._fields) else None
        choices = [words for field in self._fields for words in field.choices]
        self._labels = [_label(name) for name in names] or _labels(space)
        self.words = tuple(dict.fromkeys(word for words in choices for word in words))
        self.vocabulary = ("move", *(word for label in self._labels for word in label.split()), *self.words, *COMPARED)
        said = (
            f"{' '.join(map(re.escape, label.split()))} ({'|'.join(map(re.escape, words))})"
            for label, words in self._said(choices)
        )
        self.regex = " ".join(("move", *(part.removeprefix(" ") for part in said)))
        self.instead_regex = f"{self.regex} ({'|'.join(COMPARED)})"

    def _said(self, items: Sequence[T]) -> Iterator[tuple[str, T]]:
        """Each axis' item after its label, which may be empty."""
        return zip(self._labels, items, strict=True)

    def encode(self, action: Any) -> str:
        """An action -> text, numbers by the nearest level. Raises UserError for an action out of the space."""
        words = [
            w for field, leaf in zip(self._fields, flattened(self.space, action), strict=True) for w in field.said(leaf)
        ]
        text = " ".join(("move", *(f"{label} {word}".removeprefix(" ") for label, word in self._said(words))))
        _check(self.regex, text, "action")
        return text

    def decode(self, text: str) -> Any:
        """Text -> an action of the space. Raises UserError, naming the text and the valid form."""
        words = iter(_check(self.regex, text, "action").groups())
        found = (field.meant([next(words) for _ in field.choices]) for field in self._fields)
        return rebuilt(self.space, found)

    def instead(self, text: str, better: str) -> str:
        """As `DiscreteCodec.instead`."""
        return _same_or_other(self, text, better)


class TextCodec:
    """A number with a unit, after a verb: `answer 9.81 m/s^2`. At most four significant digits, and bounded in length:
    a poor model never ends an answer that its grammar does not end."""

    NUMBER = r"-?\d{1,4}(\.\d{1,7})?(e[+-]\d{2})?"

    def __init__(self, space: gym.spaces.Text, units: Sequence[str], verb: str = "answer"):
        """Units: those that may be said."""
        self.space, self.units, self.verb = space, tuple(units), verb
        self.vocabulary = (verb, *map(str, range(10)), ".", "-", "+", "e", *units, *COMPARED)
        self.regex = f"{verb} {self.NUMBER}( ({'|'.join(map(re.escape, units))}))?"
        self.instead_regex = f"{self.regex} ({'|'.join(COMPARED)})"

    def encode(self, action: str) -> str:
        """`9.80665 m/s^2` -> text. Raises UserError for no quantity, another unit, or a number beyond e+99 or e-99."""
        number, unit = quantities.split(action)
        if unit and unit not in self.units:
            raise UserError(f"unit {unit!r} of {action!r}; valid: {', '.join(self.units)}")
        text = f"{self.verb} {number:.4g} {unit}".rstrip()
        _check(self.regex, text, "action")
        return text

    def decode(self, text: str) -> np.str_:
        """Text -> an action of the space. Raises UserError, naming the text and the valid form."""
        _check(self.regex, text, "action")
        return np.str_(text.removeprefix(f"{self.verb} "))

    def instead(self, text: str, better: str) -> str:
        """As `DiscreteCodec.instead`."""
        return _same_or_other(self, text, better)


class _Choices:
    """The axes of a discrete space, each a number from 0."""

    def __init__(self, space: gym.Space):
        self.space = space
        self._start = np.ravel(getattr(space, "start", 0))
        self.choices = [tuple(map(str, range(size))) for size in sizes_of(space)]

    def said(self, action: Any) -> list[str]:
        return [str(int(choice)) for choice in np.ravel(action) - self._start]

    def meant(self, words: Sequence[str]) -> Any:
        chosen = self._start + np.array([int(word) for word in words], np.int64)
        if isinstance(self.space, gym.spaces.Discrete):
            return np.int64(chosen[0])
        return chosen.reshape(self.space.shape).astype(self.space.dtype)


def _labels(space: gym.Space) -> list[str]:
    """What is said before each axis: the keys that lead to it, once before the first axis that each leads to."""
    found = []
    for key, part in parts_of(space):
        first, *others = _labels(part)
        found += [f"{_label(key)} {first}".strip() if isinstance(space, gym.spaces.Dict) else first, *others]
    if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        return found
    return [""] * (space.low.size if isinstance(space, gym.spaces.Box) else sizes_of(space).size)


def _label(name: str) -> str:
    """A key in one word. Raises UserError for one that an answer cannot hold."""
    check_name(label := "_".join(name.split()))
    return label


def check_name(name: str) -> None:
    """Raises UserError for a name of an action that an answer cannot hold, or that nobody could tell apart."""
    if not name or name != " ".join(name.split()) or not name.isprintable():
        raise UserError(f"action name {shown(name)}; valid: words in one line, one space between them")
    if BETWEEN in name:
        raise UserError(f"action name {shown(name)}; valid: one without {BETWEEN!r}, which ends a thought")


def _check(regex: str, text: str, what: str) -> re.Match[str]:
    r"""Raises UserError for a text that does not match. `\d` is 0 to 9, as in the grammar that models are held to: the
    digits of other scripts are in no action space."""
    match = re.fullmatch(regex, text, flags=re.ASCII)
    if not match:
        raise UserError(f"{what} {shown(text)} does not parse; valid: {regex}")
    return match


def _same_or_other(codec: "ActionCodec", text: str, better: str) -> str:
    return f"{better} {SAME if same(codec.decode(text), codec.decode(better)) else OTHER}"


ActionCodec = BoxCodec | DiscreteCodec | StructuredCodec | TextCodec


class AnswerCodec:
    """A whole answer, `thought; action`."""

    def __init__(self, action_codec: ActionCodec, thought_regex: str = ""):
        self.action = action_codec
        self.regex = f"{thought_regex}; {action_codec.regex}" if thought_regex else action_codec.regex

    def encode(self, thought: str, action: Any) -> str:
        return joined(thought, self.action.encode(action))

    def decode(self, answer: str) -> tuple[str, Any]:
        """Answer -> thought and action. Raises UserError where it does not parse, naming the valid form."""
        _check(self.regex, answer, "answer")
        return thought_of(answer), self.action.decode(action_of(answer))

    def instead(self, answer: str, better: str) -> str:
        """The action of the better of two answers, and its difference, in the form of the action codec."""
        return self.action.instead(action_of(answer), action_of(better))


def joined(*parts: str) -> str:
    """Thought and action, or other parts of a text, joined by `; `; empty parts are left out."""
    return BETWEEN.join(part for part in parts if part)


def thought_of(answer: str) -> str:
    """The thought of an answer; empty where there is none."""
    return answer.rpartition(BETWEEN)[0]


def action_of(answer: str) -> str:
    """The action of an answer, in words."""
    return answer.rpartition(BETWEEN)[2]


def levels_of(codec: ActionCodec) -> int | None:
    """The largest level that an action says, `+n`; None where it says none."""
    return getattr(codec, "n", None)


def codec_for(task: Task) -> AnswerCodec:
    """The codec of a task's answers, one for all frame sizes."""
    return _codec_of(task.sized(IMAGE_SIZE))


@cache
def _codec_of(task: Task) -> AnswerCodec:
    words = task.actions
    try:
        with closing(task.make()) as env:
            if task.suite == DECLARED and not words.names:
                words = replace(words, names=own_names(env))
            return AnswerCodec(_action_codec(env.action_space, words), task.language.thought_regex)
    except UserError as error:
        if str(error).startswith(f"task {task.name!r}"):
            raise
        raise UserError(f"task {task.name!r}: {error}") from error


def _action_codec(space: gym.Space, words: ActionWords) -> ActionCodec:
    check_actions(space)
    if isinstance(space, gym.spaces.Discrete):
        return DiscreteCodec(space, words.names, words.verb)
    if isinstance(space, gym.spaces.Text):
        return TextCodec(space, words.names, words.verb)
    if not isinstance(space, gym.spaces.Box):
        return StructuredCodec(space, words.levels, words.names)
    if words.names:
        raise UserError(f"actions {', '.join(words.names)} of {shown(space)}; valid: none, its actions are levels")
    return BoxCodec(space, words.levels)
