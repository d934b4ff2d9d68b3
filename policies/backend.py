"""What a model must offer to be a policy: to generate answers, and to score texts by their probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from envs.errors import UserError
from policies.backends.settings import ModelSettings
from policies.prompt import Message


@dataclass(frozen=True)
class Request:
    """One prompt. frames: (T, H, W, 3) uint8, one for each image in `messages`."""

    frames: np.ndarray
    messages: list[Message]


def parting(
    text: str, other: str, tokens: Sequence[int], other_tokens: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """The common first tokens of two texts, and the next of each. Raises UserError where one begins the other."""
    both = list(zip(tokens, other_tokens, strict=False))
    n = next((i for i, (a, b) in enumerate(both) if a != b), None)
    if n is None:
        raise do_not_part(text, other)
    return tuple(token for token, _ in both[:n]), both[n]


def do_not_part(text: str, other: str) -> UserError:
    return UserError(f"{text!r} and {other!r} do not part; valid: two texts, neither of which begins the other")


class PrefilledBatch(Protocol):
    """A prefilled KV cache for each prompt and its frames, for several answers and continuations.

    digits: of a probability that do not depend on what shares its batch.
    """

    digits: int

    def generate(self, regex: str, temperatures: Sequence[float], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        """For each prompt one answer at each temperature, drawn by the prompt's own seeds."""
        ...

    def odds(self, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """(n,): the probability of each prompt's text, given that the answer is this text or the other."""
        ...

    def extend(self, prompts: Sequence[Sequence[list[Message]]], last: bool = False) -> "PrefilledBatch":
        """Longer prompts, whose words begin with those of the prompt that they extend; one prompt's after the other's.

        last: none of these is extended further.
        """
        ...


class TemplateTraits(Protocol):
    """What of a chat template decides how its model is asked. is_embedded: it is the embedded policy's. system: it
    renders a system message."""

    is_embedded: bool
    system: bool


class Backend(Protocol):
    settings: ModelSettings
    template: TemplateTraits

    def generate(self, requests: Sequence[Request], regex: str, temperature: float, seeds: Sequence[int]) -> list[str]:
        """One answer each, matching `regex`; temperature 0 is greedy; each request's seed decides what is drawn."""
        ...

    def prefill(self, requests: Sequence[Request]) -> PrefilledBatch:
        """Reads the prompts and their frames once, into a KV cache."""
        ...
