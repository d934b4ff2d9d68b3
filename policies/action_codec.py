"""Action <-> text: one object encodes, decodes and gives the grammar of an answer."""

import re
from collections.abc import Sequence
from functools import cache

import gymnasium as gym
import numpy as np

from envs.errors import UserError
from envs.task import Task

COMPARED = ("same", "other")  # actions that have no distance


class BoxCodec:
    """A bounded (d,) continuous action as `move +3 -1`: signed whole steps on each axis, zero in the middle.

    With n = levels // 2, `+n` is the action's upper bound, `-n` its lower, `+0` halfway.
    """

    def __init__(self, space: gym.spaces.Box, levels: int):
        """Raises UserError for an unbounded space or an even number of levels."""
        if len(space.shape) != 1 or not space.is_bounded():
            raise UserError(f"cannot put actions of {space} into words; valid: a bounded one-dimensional Box")
        if levels < 3 or levels % 2 == 0:
            raise UserError(f"levels = {levels}; valid: an odd number of at least 3")
        self.space, self.n = space, levels // 2
        self._middle = (space.high.astype(np.float64) + space.low) / 2
        self._unit = (space.high.astype(np.float64) - space.low) / (2 * self.n)
        self.words = self.vocabulary = tuple(f"{k:+d}" for k in range(-self.n, self.n + 1))
        step = f"({'|'.join(re.escape(word) for word in self.words)})"
        self.regex = "move" + f" {step}" * space.shape[0]

    def encode(self, action: np.ndarray) -> str:
        """(d,) -> text, by the nearest level."""
        steps = np.rint((np.asarray(action, np.float64) - self._middle) / self._unit).astype(int)
        return "move " + " ".join(f"{k:+d}" for k in np.clip(steps, -self.n, self.n))

    def decode(self, text: str) -> np.ndarray:
        """Text -> (d,) in the space. Raises UserError, naming the text and the valid form."""
        if not re.fullmatch(self.regex, text):
            raise UserError(f"action {text!r} does not parse; valid: {self.regex}")
        steps = np.array([int(word) for word in text.split()[1:]])
        return (self._middle + steps * self._unit).clip(self.space.low, self.space.high).astype(self.space.dtype)

    def instead(self, text: str, better: str) -> str:
        """The better of two actions, and how many steps farther it goes on each axis: `move -2 +4 -1 +8`.

        Raises UserError where one does not parse.
        """
        self.decode(text), self.decode(better)
        farther = (int(b) - int(a) for a, b in zip(text.split()[1:], better.split()[1:], strict=True))
        return f"{better} {' '.join(f'{k:+d}' for k in farther)}"


class DiscreteCodec:
    """One of n actions by its name, `move left`."""

    def __init__(self, space: gym.spaces.Discrete, names: Sequence[str] = ()):
        """Names: of the actions, in their order; without any, their numbers. Raises UserError for another number of
        names, or for one given twice."""
        names = tuple(names) or tuple(map(str, range(space.n)))
        if len(names) != space.n or len(set(names)) != len(names):
            raise UserError(f"actions {', '.join(names)}; valid: {space.n} different names, one for each of {space}")
        self.space, self.words, self.vocabulary = space, names, (*names, *COMPARED)
        self.regex = f"move ({'|'.join(map(re.escape, names))})"

    def encode(self, action: int) -> str:
        return f"move {self.words[int(action) - int(self.space.start)]}"

    def decode(self, text: str) -> np.int64:
        """Text -> an action of the space. Raises UserError, naming the text and the valid form."""
        if not re.fullmatch(self.regex, text):
            raise UserError(f"action {text!r} does not parse; valid: {self.regex}")
        return self.space.start + np.int64(self.words.index(text.removeprefix("move ")))

    def instead(self, text: str, better: str) -> str:
        """The better of two actions, and whether the other is that one: `move left same`.

        Raises UserError where one does not parse.
        """
        return f"{better} {COMPARED[self.decode(text) != self.decode(better)]}"


class AnswerCodec:
    """A whole answer, `thought; action`."""

    def __init__(self, action_codec: BoxCodec | DiscreteCodec, thought_regex: str = ""):
        self.action = action_codec
        self.regex = f"{thought_regex}; {action_codec.regex}" if thought_regex else action_codec.regex

    def encode(self, thought: str, action: np.ndarray) -> str:
        return joined(thought, self.action.encode(action))

    def decode(self, answer: str) -> tuple[str, np.ndarray]:
        """Answer -> thought and (d,) action. Raises UserError where it does not parse, naming the valid form."""
        if not re.fullmatch(self.regex, answer):
            raise UserError(f"answer {answer!r} does not parse; valid: {self.regex}")
        return thought_of(answer), self.action.decode(action_of(answer))

    def instead(self, answer: str, better: str) -> str:
        """What the better of two answers does, and how that differs, in the form of the action codec."""
        return self.action.instead(action_of(answer), action_of(better))


def joined(*parts: str) -> str:
    """Thought and action, or what else is said one after the other, those left out that are empty."""
    return "; ".join(part for part in parts if part)


def thought_of(answer: str) -> str:
    """The part of an answer that says what is seen and where to go, in words; there may be none."""
    return answer.rpartition("; ")[0]


def action_of(answer: str) -> str:
    """The part of an answer that says what is done, in words."""
    return answer.rpartition("; ")[2]


@cache
def codec_for(task: Task) -> AnswerCodec:
    """The codec of a task's answers."""
    env = task.make()
    try:
        discrete = isinstance(env.action_space, gym.spaces.Discrete)
        action = DiscreteCodec(env.action_space, task.actions) if discrete else BoxCodec(env.action_space, task.levels)
        return AnswerCodec(action, task.thought_regex)
    finally:
        env.close()
