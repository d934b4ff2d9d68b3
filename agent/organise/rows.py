"""SFT examples and preference pairs -> rows of trl: frames, a prompt, and one answer, or a chosen and a rejected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from datasets import Dataset
from PIL import Image

from agent.organise.outcome import Outcome
from envs.observation import PackedFrame
from policies.prompt import Message, assistant

Shown = tuple[PackedFrame, ...]


@dataclass(frozen=True)
class Asked:
    """A prompt about frames. shown: packed, or an array (T, H, W, 3) uint8, which is then packed."""

    shown: Shown | np.ndarray
    prompt: list[Message]

    def __post_init__(self) -> None:
        if isinstance(self.shown, np.ndarray):
            object.__setattr__(self, "shown", tuple(map(PackedFrame.of, self.shown)))

    @property
    def frames(self) -> np.ndarray:
        """(T, H, W, 3) uint8, decoded whenever they are asked for."""
        return np.stack([frame.unpacked() for frame in self.shown])


@dataclass(frozen=True)
class Example(Asked):
    """A prompt about frames, and the answer to imitate."""

    answer: str


@dataclass(frozen=True)
class Labelled(Example):
    """An answer with the label of its measured outcome. good: whether it ties with the best to this observation."""

    good: bool = True


@dataclass(frozen=True)
class Pair(Asked):
    """A prompt about frames, two answers, and the measured difference of their outcomes."""

    chosen: str
    rejected: str
    margin: Outcome


def rehearsal(example: Example) -> Pair:
    """The example as a row of DPO with equal answers, so that only the SFT term of the loss has a gradient."""
    return Pair(example.shown, example.prompt, example.answer, example.answer, Outcome(0.0, 0.0))


def sft_rows(examples: Iterable[Example]) -> Dataset:
    """Rows for trl's SFTTrainer; the loss covers the completion alone."""
    examples = list(examples)
    return _rows(examples, {"completion": [assistant(e.answer) for e in examples]})


def dpo_rows(pairs: Sequence[Pair]) -> Dataset:
    """Rows for trl's DPOTrainer; both answers share the frames."""
    answers = {
        "chosen": [assistant(p.chosen) for p in pairs],
        "rejected": [assistant(p.rejected) for p in pairs],
    }
    return _rows(pairs, answers)


def kto_rows(answers: Iterable[Labelled]) -> Dataset:
    """Rows for trl's KTOTrainer, which calls a good answer desirable."""
    answers = list(answers)
    columns = {"completion": [assistant(a.answer) for a in answers], "label": [a.good for a in answers]}
    return _rows(answers, columns)


def grpo_rows(prompts: Iterable[Asked], numbers: Sequence[int]) -> Dataset:
    """Rows for trl's GRPOTrainer, which hands the column `number` to the reward function."""
    return _rows(list(prompts), {"number": numbers})


def _rows(rows: Sequence[Asked], answers: Mapping[str, Sequence[Any]]) -> Dataset:
    """The texts, held by the dataset, and the frames, which are read and decoded when a row is asked for."""
    columns = {"images": range(len(rows)), "prompt": [row.prompt for row in rows], **answers}
    dataset = Dataset.from_list([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    # `set_transform` itself would pickle all frames, to hash them
    Dataset.set_format.__wrapped__(dataset, "custom", transform=_Decoded([row.shown for row in rows]))
    return dataset


class _Decoded:
    """A transform of a batch of rows: the number of a row in the column `images` becomes its frames."""

    def __init__(self, shown: Sequence[Shown]):
        self._shown = shown

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        images = [[Image.fromarray(frame.unpacked()) for frame in self._shown[number]] for number in batch["images"]]
        return batch | {"images": images}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """datasets copies a dataset, with its transform, for each of its views."""
        return self
