"""What is said of a task: its instruction, proprioception, thoughts and endings, and its state in words.

A family of tasks has one `Language` object, which holds the grammar, the parser and the sayer of its thoughts. The loop
selects, relabels and criticises through the methods of `Language` alone. The base class is the plain language: an
answer is an action without a thought.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from envs.errors import UserError, shown


class Language:
    """The plain language, and what every language offers. A thought and a proprioception are text, as answers store
    them; `parse` and `say` turn the text of a thought into a small dataclass and back.

    thought_regex: the grammar of what an answer says before its action, empty where it says nothing.
    ending_regex: the grammar of what a critic says of an ending before its verdict, empty likewise.
    words: the vocabulary of instructions, proprioception, thoughts and captions, for a tokenizer.
    legend: sentences that say what the numbers and words of an answer and of the proprioception mean, with units and
    signs, and what is seen in which picture. They are put into the prompt of a model that is asked in the chat dialect.
    names_goal: a thought names its goal, so that a failure can be relabelled under another goal of its scene.
    """

    thought_regex: str = ""
    ending_regex: str = ""
    words: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()
    names_goal: bool = False

    def instruction(self, env: gym.Env) -> str:
        """The task in words."""
        return env.unwrapped.instruction

    def proprioception(self, env: gym.Env) -> str:
        """The robot's own readings in words; empty where it has none."""
        return ""

    # a thought ---------------------------------------------------------------------------------------------------
    def parse(self, thought: str) -> Any:
        """The thought as data. Raises UserError, naming the text and the grammar."""
        return thought

    def say(self, parsed: Any) -> str:
        """The inverse of `parse`."""
        return parsed

    def derive(self, thought: str, proprioception: str) -> str:
        """Recomputes all that follows from what the thought says it sees, such as a waypoint from a position."""
        return thought

    def called_for(self, thought: str, proprioception: str) -> np.ndarray | None:
        """The action that a thought calls for; None where the language does not know."""
        return None

    def relabel(
        self,
        thoughts: Sequence[str],
        proprioception: Sequence[str],
        rewards: Sequence[float],
        actions: Sequence[np.ndarray],
    ) -> list[str]:
        """The T thoughts of a success, corrected by what the episode itself proved. Not privileged.

        proprioception: T + 1, the last after the end. rewards, actions: T.
        """
        return list(thoughts)

    # another goal ------------------------------------------------------------------------------------------------
    def other_goals(self, env: gym.Env) -> list[str]:
        """The values of reset's option `goal` that make the scene of this seed one with another goal."""
        return []

    def about(self, thought: str, goal: str) -> str:
        """The thought with another goal named in it; `relabel` corrects the rest."""
        return thought

    # an ending ---------------------------------------------------------------------------------------------------
    def conclude(self, thought: str, proprioception: str, success: bool) -> str:
        """What there is to say of an ending, given the last step's thought and the last proprioception."""
        return ""

    def derive_ending(self, words: str, proprioception: str) -> str:
        """Recomputes all that follows from what the words for an ending say of what is seen."""
        return words


@dataclass(frozen=True)
class FixedInstruction(Language):
    """A plain language whose instruction is always the same."""

    text: str
    words: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()

    def instruction(self, env: gym.Env) -> str:
        return self.text


def matched(regex: str, text: str, what: str = "thought") -> str:
    """The text. Raises UserError, naming it and the grammar, where it does not match."""
    if not re.fullmatch(regex, text, flags=re.ASCII):
        raise UserError(f"{what} {shown(text)} does not parse; valid: {regex}")
    return text


# state words ---------------------------------------------------------------------------------------------------------
class Bins(NamedTuple):
    """A number from `low` to `high` as one of `n` equal bins, `12`; a number beyond takes the bin of the border."""

    low: float
    high: float
    n: int

    def level(self, number: float) -> int:
        return int(np.clip((number - self.low) * self.n // (self.high - self.low), 0, self.n - 1))

    def spell(self, level: int) -> str:
        return str(level)

    def word(self, number: float) -> str:
        return self.spell(self.level(number))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(map(self.spell, range(self.n)))


class SignedLevels(NamedTuple):
    """A number from -`high` to `high` as signed whole levels from zero, at most `n` of them, `+3`."""

    high: float
    n: int

    def level(self, number: float) -> int:
        return int(np.clip(np.rint(number * self.n / self.high), -self.n, self.n))

    def spell(self, level: int) -> str:
        return f"{level:+d}"

    def word(self, number: float) -> str:
        return self.spell(self.level(number))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(map(self.spell, range(-self.n, self.n + 1)))


class Whole(NamedTuple):
    """A whole number from `low` to `high` as itself, `12`, or with its sign, `+3`, where some are negative."""

    low: int
    high: int

    def level(self, number: float) -> int:
        return int(np.clip(np.rint(number), self.low, self.high))

    def spell(self, level: int) -> str:
        return f"{level:+d}" if self.low < 0 else str(level)

    def word(self, number: float) -> str:
        return self.spell(self.level(number))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(map(self.spell, range(self.low, self.high + 1)))


class Values(NamedTuple):
    """A number that takes few values, as the place of the nearest in their list, from 0."""

    values: tuple[float, ...]

    def level(self, number: float) -> int:
        return int(np.argmin(np.abs(np.subtract(self.values, number))))

    def spell(self, level: int) -> str:
        return str(level)

    def word(self, number: float) -> str:
        return self.spell(self.level(number))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(map(self.spell, range(len(self.values))))


Quantisation = Bins | SignedLevels | Whole | Values
Levels = Mapping[str, Sequence[int]]  # name of a part -> the level of each of its numbers


@dataclass(frozen=True)
class StateWords:
    """An environment's state in words, part after part: `cart 17; pole -2 +1`.

    parts: name -> the quantisation of each of its numbers. read: privileged, the environment -> name -> its numbers.
    """

    parts: Mapping[str, Sequence[Quantisation]]
    read: Callable[[gym.Env], Mapping[str, Sequence[float]]]

    def each(self, env: gym.Env) -> dict[str, str]:
        """Privileged: name -> the words of that part."""
        numbers = self.read(env)
        return {
            name: " ".join([name, *(kind.word(x) for kind, x in zip(kinds, numbers[name], strict=True))])
            for name, kinds in self.parts.items()
        }

    def of(self, env: gym.Env) -> str:
        """Privileged: the state in words."""
        return "; ".join(self.each(env).values())

    def parse(self, text: str) -> dict[str, tuple[int, ...]]:
        """`cart 17; pole -2 +1` -> {"cart": (17,), "pole": (-2, 1)}. Raises UserError, naming text and grammar."""
        named = (part.split() for part in matched(self.regex, text, "state").split("; "))
        return {name: tuple(map(int, levels)) for name, *levels in named}

    def say(self, levels: Levels) -> str:
        """The inverse of `parse`."""
        return "; ".join(
            " ".join([name, *(kind.spell(level) for kind, level in zip(kinds, levels[name], strict=True))])
            for name, kinds in self.parts.items()
        )

    @cached_property
    def regex(self) -> str:
        """The grammar."""
        return "; ".join(
            " ".join([name, *(f"({'|'.join(map(re.escape, kind.words))})" for kind in kinds)])
            for name, kinds in self.parts.items()
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary."""
        return (*self.parts, *(word for kinds in self.parts.values() for kind in kinds for word in kind.words))


class StateLanguage(Language):
    """A fixed instruction, a thought that says what is `seen`, and what the robot's `own` sensors read."""

    def __init__(self, instruction: str, seen: StateWords, own: StateWords | None = None, legend: tuple[str, ...] = ()):
        self.text, self.seen, self.own, self.legend = instruction, seen, own, legend
        self.thought_regex = seen.regex

    @cached_property
    def words(self) -> tuple[str, ...]:
        return (*self.text.split(), *self.seen.words, *(self.own.words if self.own else ()))

    def instruction(self, env: gym.Env) -> str:
        return self.text

    def proprioception(self, env: gym.Env) -> str:
        return self.own.of(env) if self.own else ""

    def parse(self, thought: str) -> Levels:
        return self.seen.parse(thought)

    def say(self, parsed: Levels) -> str:
        return self.seen.say(parsed)

    def captions(
        self, env: gym.Env, rng: np.random.Generator, n: int, instructions: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Privileged: a caption and `n` questions about single parts, each with its answer."""
        parts, after = self.seen.each(env), f". {self.own.of(env)}" if self.own else ""
        yield f"describe{after}", "; ".join(parts.values())
        for name in rng.permutation(list(parts))[:n]:
            yield f"where is the {name}{after}", parts[name]
