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
    again, branched_again: the number of the method, and of the store, where it is not the first of the round; else
    nothing. They tell the stages of a round apart.
    """

    method: Method
    out: str
    branches: str = ""
    again: tuple[str, ...] = ()
    branched_again: tuple[str, ...] = ()


def in_order(methods: Sequence[Method]) -> list[Optimiser]:
    """The trainings of a round. A method that comes again has outcomes that are measured anew (online DPO, Guo et al.,
    2024): the first store is `branches`, the second `branches_2`."""
    trainings, measured = list[Optimiser](), 0
    for i, method in enumerate(methods):
        n = methods[: i + 1].count(method)
        out = "policy" if i == len(methods) - 1 else _numbered(method, n)
        if method == "sft":
            trainings.append(Optimiser(method, out, again=_again(n)))
            continue
        measured += 1
        trainings.append(Optimiser(method, out, _numbered("branches", measured), _again(n), _again(measured)))
    return trainings


def stores(methods: Sequence[Method], method: Method | None = None) -> list[str]:
    """The stores of branches of a round, in the order of their trainings; of one method's alone, if it is given."""
    return [each.branches for each in in_order(methods) if each.branches and method in (None, each.method)]


def _again(n: int) -> tuple[str, ...]:
    return (str(n),) if n > 1 else ()


def _numbered(name: str, n: int) -> str:
    return name if n == 1 else f"{name}_{n}"
