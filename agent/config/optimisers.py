"""The trainings of a round, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Method = Literal["sft", "dpo", "kto", "awr", "grpo"]
Methods = Annotated[tuple[Method, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Optimiser:
    """One training of a round.

    method: SFT learns from the successes of practice, the others from measured outcomes of answers to one state.
    out: the folder in the round's that the checkpoint is saved into, `policy` for the last one.
    branches: the store of the measured outcomes, which are rolled out by the checkpoint that is trained; "" for SFT.
    """

    method: Method
    out: str
    branches: str = ""


def in_order(methods: Sequence[Method]) -> list[Optimiser]:
    """The trainings of a round. A method that comes again has outcomes that are measured anew (online DPO, Guo et al.,
    2024): the first store is `branches`, the second `branches_2`."""
    trainings, measured = list[Optimiser](), 0
    for i, method in enumerate(methods):
        n = methods[: i + 1].count(method)
        out = "policy" if i == len(methods) - 1 else _numbered(method, n)
        measured += method != "sft"
        trainings.append(Optimiser(method, out, "" if method == "sft" else _numbered("branches", measured)))
    return trainings


def stores(methods: Sequence[Method]) -> list[str]:
    """The stores of branches of a round, in the order of their trainings."""
    return [training.branches for training in in_order(methods) if training.branches]


def _numbered(name: str, n: int) -> str:
    return name if n == 1 else f"{name}_{n}"
