"""SFT examples and preference pairs -> rows of trl: frames, a prompt, and one answer, or a chosen and a rejected."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from PIL import Image

from agent.organise.outcome import Outcome
from policies.prompt import Message, assistant


@dataclass(frozen=True)
class Example:
    """A prompt about frames (T, H, W, 3) uint8, and the answer to imitate."""

    frames: np.ndarray
    prompt: list[Message]
    answer: str


@dataclass(frozen=True)
class Pair:
    """A prompt about frames (T, H, W, 3) uint8, two answers, and the measured difference of their outcomes."""

    frames: np.ndarray
    prompt: list[Message]
    chosen: str
    rejected: str
    margin: Outcome


def rehearsal(example: Example) -> Pair:
    """The example as a row of DPO with equal answers, so that only the SFT term of the loss has a gradient."""
    return Pair(example.frames, example.prompt, example.answer, example.answer, Outcome(0.0, 0.0))


def _images(frames: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]


def sft_rows(examples: Iterable[Example]) -> Dataset:
    """Rows for trl's SFTTrainer; the loss covers the completion alone."""
    return Dataset.from_list(
        [{"images": _images(e.frames), "prompt": e.prompt, "completion": assistant(e.answer)} for e in examples]
    )


def dpo_rows(pairs: Sequence[Pair]) -> Dataset:
    """Rows for trl's DPOTrainer; both answers share the frames."""
    return Dataset.from_list(
        [
            {
                "images": _images(p.frames),
                "prompt": p.prompt,
                "chosen": assistant(p.chosen),
                "rejected": assistant(p.rejected),
            }
            for p in pairs
        ]
    )
