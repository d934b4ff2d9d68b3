"""What a model must offer to be a policy: to answer, and to say how likely given words are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from policies.prompt import Message


@dataclass(frozen=True)
class Request:
    """One question. frames: (T, H, W, 3) uint8, one for each image in `messages`."""

    frames: np.ndarray
    messages: list[Message]


class Looked(Protocol):
    """Prompts that were read once, with their frames, for all that follows of them."""

    def generate(self, regex: str, temperatures: Sequence[float], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        """For each prompt one answer at each temperature, drawn by the prompt's own seeds."""
        ...

    def score(
        self, questions: Sequence[Sequence[list[Message]]], words: Sequence[str], said: str = ""
    ) -> tuple[np.ndarray, list[list[str]]]:
        """`Backend.score` of questions whose words begin with the prompt's: (prompts, questions of each, words)."""
        ...


class Backend(Protocol):
    def generate(self, requests: Sequence[Request], regex: str, temperature: float, seeds: Sequence[int]) -> list[str]:
        """One answer each, matching `regex`; temperature 0 is greedy; each request's seed decides what is drawn."""
        ...

    def score(self, requests: Sequence[Request], words: Sequence[str], said: str = "") -> tuple[np.ndarray, list[str]]:
        """(len(requests), len(words)): the probability that the answer ends with each word, among these words.

        Before the word, and `; `, the answer greedily says what matches the regex `said`: these texts come second.
        """
        ...

    def look(self, requests: Sequence[Request]) -> Looked:
        """Read the prompts and their frames once."""
        ...
