"""What there is to see of an environment, in words: parts, each a name and numbers that its state tells."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np


class Place(NamedTuple):
    """A number from `low` to `high` as one of `n` bins, `12`; those of the border for one beyond."""

    low: float
    high: float
    n: int

    def word(self, number: float) -> str:
        return str(int(np.clip((number - self.low) * self.n // (self.high - self.low), 0, self.n - 1)))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.n)))


class Rate(NamedTuple):
    """A number from -`high` to `high` as signed whole steps from zero, at most `n` of them, `+3`."""

    high: float
    n: int

    def word(self, number: float) -> str:
        return f"{int(np.clip(np.rint(number * self.n / self.high), -self.n, self.n)):+d}"

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(f"{k:+d}" for k in range(-self.n, self.n + 1))


@dataclass(frozen=True)
class Sight:
    """The parts of what is seen, told one after the other: `cart 17; pole -2 +1`.

    parts: name -> what kind of number each of its numbers is. read: privileged, name -> these numbers.
    """

    parts: Mapping[str, Sequence[Place | Rate]]
    read: Callable[[gym.Env], Mapping[str, Sequence[float]]]

    def tell(self, env: gym.Env) -> dict[str, str]:
        """Each part in words."""
        numbers = self.read(env)
        return {
            name: " ".join([name, *(kind.word(x) for kind, x in zip(kinds, numbers[name], strict=True))])
            for name, kinds in self.parts.items()
        }

    def say(self, env: gym.Env) -> str:
        """All of them."""
        return "; ".join(self.tell(env).values())

    def questions(
        self, env: gym.Env, rng: np.random.Generator, n: int, instructions: bool = False
    ) -> Iterator[tuple[str, str]]:
        """A caption, and `n` questions about single parts, each with its answer."""
        parts = self.tell(env)
        yield "describe", self.say(env)
        for name in rng.permutation(list(parts))[:n]:
            yield f"where is the {name}", parts[name]

    @property
    def regex(self) -> str:
        """The form of what is told."""
        return "; ".join(
            " ".join([name, *(f"({'|'.join(map(re.escape, kind.words))})" for kind in kinds)])
            for name, kinds in self.parts.items()
        )

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that is told."""
        return (*self.parts, *(word for kinds in self.parts.values() for kind in kinds for word in kind.words))


def told(instruction: str, seen: Sight, own: Sight | None = None) -> dict[str, Any]:
    """The fields of a Task whose answers first say what is `seen`; `own` is what the robot knows of itself."""

    def questions(env: gym.Env, *how: Any) -> Iterator[tuple[str, str]]:
        for question, answer in seen.questions(env, *how):
            yield f"{question}. {own.say(env)}" if own else question, answer

    fields = {
        "thought_regex": seen.regex,
        "thought": seen.say,
        "questions": questions,
        "words": (*instruction.split(), *seen.words),
    }
    if own:
        fields |= {"proprioception": own.say, "words": (*fields["words"], *own.words)}
    return fields
