"""Instructions that an environment tells itself, one for each episode: MiniGrid's mission, LIBERO's language."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium as gym

from envs.foreign.paths import as_text
from envs.language import Language
from envs.splits import SPLITS

RESETS = 64  # of practice seeds, whose instructions' words make the vocabulary where none is given


@dataclass(frozen=True)
class EnvInstruction(Language):
    """A plain language whose instruction is told by the environment, at a path (`envs.foreign.paths`).

    given: the words of the instructions, for a tokenizer; without any, those that `sampled` gives when they are asked
    for. A word that is in neither costs several tokens, and can be said all the same.
    """

    path: str
    given: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()
    sampled: Callable[[], Iterable[str]] = field(default=tuple, compare=False)  # texts

    def instruction(self, env: gym.Env[Any, Any]) -> str:
        """Raises UserError where there is no text at the path, naming what is there."""
        return instruction_at(env, self.path)

    @cached_property
    def words(self) -> tuple[str, ...]:
        return self.given or tuple(dict.fromkeys(word for text in self.sampled() for word in text.split()))


def instruction_at(env: gym.Env[Any, Any], path: str) -> str:
    """The text at one of the paths that the task's environment holds (`EnvSpec.held`). Raises UserError for none."""
    return as_text(env.get_wrapper_attr("held")(path), path)


def instructions(make: Callable[[], gym.Env[Any, Any]], path: str, resets: int = RESETS) -> list[str]:
    """The instructions of the first practice seeds, in their order. make: the task's environment."""
    texts = []
    with closing(make()) as env:
        for seed in SPLITS["practice"][:resets]:
            env.reset(seed=seed)
            texts.append(instruction_at(env, path))
    return texts
