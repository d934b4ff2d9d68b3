"""The words of `sees`: a task with thoughts, captions, questions and a legend, from numbers that a file names."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import pi
from typing import Any

import gymnasium as gym
import numpy as np

from envs.declared.numbers import Number, Parts
from envs.declared.sources import PICTURE, AbsentError, number_of
from envs.errors import UserError
from envs.language import Bins, FixedInstruction, Language, SignedLevels, StateLanguage, StateWords, Values, Whole
from envs.task import Captions, Task


@dataclass(frozen=True, eq=False)
class Reader:
    """Privileged: environment -> name of a part -> its numbers."""

    parts: Parts

    def __call__(self, env: gym.Env) -> dict[str, list[float]]:
        """Raises UserError naming the part, the place in it, and what is wrong with its source."""
        return {
            name: [self._read(env, f"sees.{name}.{i}", number) for i, number in enumerate(numbers)]
            for name, numbers in self.parts.items()
        }

    def _read(self, env: gym.Env, where: str, number: Number) -> float:
        try:
            value = number_of(number.source, env)
        except UserError as error:
            may_be_absent = isinstance(error, AbsentError)
            if not may_be_absent or number.form.missing is None:
                hint = ", or missing: NUMBER beside it, where it is not always there" if may_be_absent else ""
                raise UserError(f"{where}: {error}{hint}") from error
            value = number.form.missing
        return (value + pi) % (2 * pi) - pi if number.form.angle else value


class SeenLanguage(StateLanguage):
    """What is told of a task by another language, and its state in words: captions, and thoughts where it thinks."""

    def __init__(self, told: Language, parts: Parts, thinks: bool = True):
        """parts: each number with its range."""
        quantised = {name: [number.quantisation for number in numbers] for name, numbers in parts.items()}
        seen = StateWords(quantised, Reader(parts))
        super().__init__(getattr(told, "text", ""), seen, legend=(*told.legend, *legend(parts)))
        self.told, self.parts = told, parts
        if not thinks:
            self.thought_regex = ""

    @cached_property
    def words(self) -> tuple[str, ...]:
        return (*self.told.words, *self.seen.words)

    def instruction(self, env: gym.Env) -> str:
        return self.told.instruction(env)

    def proprioception(self, env: gym.Env) -> str:
        return self.told.proprioception(env)

    def captions(
        self, env: gym.Env, rng: np.random.Generator, n: int, instructions: bool = False
    ) -> Iterator[tuple[str, str]]:
        """As `StateLanguage.captions`, each question after an instruction that the environment tells: a part such as
        the target may depend on it."""
        told = "" if isinstance(self.told, FixedInstruction) else f"{self.told.instruction(env)}. "
        for question, answer in super().captions(env, rng, n, instructions):
            yield told + question, answer

    def parse(self, thought: str) -> Any:
        return self.seen.parse(thought) if self.thought_regex else thought

    def say(self, parsed: Any) -> str:
        return self.seen.say(parsed) if self.thought_regex else parsed


def with_numbers(task: Task, parts: Parts) -> Task:
    """The task, whose environment keeps what `Reader` reads."""
    paths = dict.fromkeys(str(n.source) for each in parts.values() for n in each if n.source.of_info)
    return task.with_env(info=tuple(paths))


def with_words(task: Task, parts: Parts, thinks: bool = True) -> Task:
    """The task with its state in words. parts: each number with its range. thinks: an answer begins with what is
    seen."""
    language = SeenLanguage(task.language, parts, thinks)
    thought = language.seen.of if thinks else None
    expert = task.teacher.expert
    if expert and thought:
        expert = _thinking(thought, expert)
    teacher = replace(task.teacher, thought=thought, captions=Captions(language.captions), expert=expert)
    return replace(with_numbers(task, parts), language=language, teacher=teacher)


def _thinking(
    thought: Callable[[gym.Env], str], expert: Callable[[gym.Env], tuple[str, Any]]
) -> Callable[[gym.Env], tuple[str, Any]]:
    return lambda env: (thought(env), expert(env)[1])


# the legend ----------------------------------------------------------------------------------------------------------
def legend(parts: Parts) -> tuple[str, ...]:
    """A sentence for each part: what its numbers are, their ranges and units. For the prompt of a chat model."""
    return tuple(f"`{name}`: {meaning(numbers)}." for name, numbers in parts.items())


def meaning(numbers: Sequence[Number]) -> str:
    """What the numbers of a part are: `place (0 to 31 from -2.4 to 2.4 m), speed (-8 to +8 in steps of 0.25 m/s)`."""
    return ", ".join(f"{name_of(number)} ({form_of(number)})" for number in numbers)


def name_of(number: Number) -> str:
    """What a number is, in words."""
    source = number.source
    if number.form.name:
        return number.form.name
    if source.kind == "joint":
        return f"joint {source.name}" + ("" if source.path[0] == "qpos" else "'s speed")
    if source.in_picture:
        what = {"column": "column from the left", "row": "row from above", "depth": "distance from the camera"}
        return what[source.path[0]] + (f" in camera {source.camera}" if source.camera else "")
    return source.path[0] if source.name else str(source).removeprefix("info.").removeprefix("unwrapped.")


def form_of(number: Number) -> str:
    """How a number is put into a word, in words: `0 to 31 from -2.4 to 2.4 m`."""
    form, kind = number.form, number.quantisation
    unit = f" {form.unit}" if form.unit else " rad" if form.angle else ""
    if number.source.in_picture:
        unit = " m" if number.source.path == (PICTURE[-1],) else " of the picture"
    if isinstance(kind, Bins):
        return f"0 to {kind.n - 1} from {kind.low:.4g} to {kind.high:.4g}{unit}"
    if isinstance(kind, SignedLevels):
        return f"{-kind.n} to +{kind.n} in steps of {kind.high / kind.n:.3g}{unit}"
    if isinstance(kind, Values):
        return f"0 to {len(kind.values) - 1} for {', '.join(f'{value:.4g}' for value in kind.values)}{unit}"
    if isinstance(kind, Whole):
        return f"{kind.spell(kind.low)} to {kind.spell(kind.high)}{unit}"
    return "a range that is not measured yet"
