"""Ranges that a task's file does not give: they are measured once, into a file beside it, and read from there.

`task.yaml` has `task.sees.yaml`. It is written by `handeye sees task.yaml`, and may be edited: each of its numbers has
the form that `sees` has. What it says is part of the task, and of the provenance of whatever was trained with it.
"""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from envs.declared import automatic
from envs.declared.measured import put
from envs.declared.measuring import EPISODES, Act, measured
from envs.declared.numbers import AUTO, Form, Number, Parts, parts_of
from envs.errors import UserError, shown
from envs.task import Task
from envs.validation import read

SUFFIX = ".sees.yaml"
SAID = ("name", "unit", "missing")  # of a number, that are no range


def beside(path: Path) -> Path:
    """Where the ranges of a task's file are."""
    return path.with_suffix(SUFFIX)


def file_of(path: Path, values: Mapping[str, Any]) -> Path | None:
    """The file that a task's ranges are read from; None where its own gives them all, or has no `sees`.

    values: what the task's file holds. Raises UserError as `parts_of` does.
    """
    sees = values.get("sees")
    if sees is None:
        return None
    return beside(path) if sees == AUTO or not _is_complete(parts_of(sees)) else None


def complete(path: Path, sees: Any) -> Parts:
    """The numbers of a task's `sees`, each with its range. path: of the task's file.

    Raises UserError where the range of one is neither given nor measured, naming the command that measures it, and
    where the measured ones are of other numbers.
    """
    declared = None if sees == AUTO else parts_of(sees)
    if declared and _is_complete(declared):
        return declared
    file = beside(path)
    if not file.exists():
        which = "sees: auto" if declared is None else f"{_unmeasured(declared)} without a range"
        raise UserError(f"{which} and no file {file.name!r} beside it; valid: handeye sees {path}, or low and high")
    measured = parts_of(read(file), f"{file.name}: sees")
    if not _is_complete(measured):
        raise UserError(f"{file.name}: {_unmeasured(measured)} without a range; valid: low and high")
    if declared is None:
        return measured
    if list(measured) != list(declared):
        names = f"{', '.join(measured)}, where the task sees {', '.join(declared)}"
        raise _otherwise(path, f"has the parts {names}")
    return {name: _joined(path, name, declared[name], measured[name]) for name in declared}


def _joined(path: Path, name: str, declared: tuple[Number, ...], measured: tuple[Number, ...]) -> tuple[Number, ...]:
    if [n.source for n in declared] != [n.source for n in measured]:
        there, here = (", ".join(str(n.source) for n in numbers) for numbers in (measured, declared))
        raise _otherwise(path, f"has {name} of {there}, where the task has it of {here}")
    for one, other in zip(declared, measured, strict=True):
        found = other.form.given()
        for key, value in one.form.given().items():
            if one.quantisation is None and key not in SAID and found.get(key) != value:
                has = f"has {key} {found[key]}" if key in found else f"has no {key}"
                raise _otherwise(path, f"{has} for {one.source}, where the task has {value}")
    pairs = zip(declared, measured, strict=True)
    return tuple(one if one.quantisation else Number(other.source, _merged(one, other)) for one, other in pairs)


def _merged(declared: Number, measured: Number) -> Form:
    """The measured form, with what the task's file says beside a range."""
    said = {key: value for key, value in declared.form.given().items() if key in SAID}
    return Form(**(measured.form.given() | said))


def _otherwise(path: Path, how: str) -> UserError:
    return UserError(f"{beside(path).name} {how}; valid: handeye sees {path} --overwrite, or edit either file")


def _is_complete(parts: Parts) -> bool:
    return all(number.quantisation for numbers in parts.values() for number in numbers)


def _unmeasured(parts: Parts) -> str:
    """The first number without a range."""
    return next(
        f"sees.{name}.{i} ({number.source})"
        for name, numbers in parts.items()
        for i, number in enumerate(numbers)
        if number.quantisation is None
    )


def text_of(parts: Parts, comment: str) -> str:
    """The file's text: a comment of full lines, then a line for each number."""
    lines = [f"# {line}" if line else "#" for line in comment.splitlines()]
    for name, numbers in parts.items():
        lines.append(
            yaml.safe_dump({name: None}, allow_unicode=True).removesuffix(" null\n")
        )  # quotes `on` and the like
        lines += [f"- {_flow(number)}" for number in numbers]
    return "\n".join(lines) + "\n"


def _flow(number: Number) -> str:
    camera = {"camera": number.source.camera} if number.source.camera else {}
    entry = {"of": str(number.source)} | camera | number.form.given()
    return yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=1 << 16, allow_unicode=True).strip()


def measured_text(path: Path, task: Task, expert: Act | None = None, episodes: int = EPISODES) -> str:
    """What the file beside a task's file is to hold. task: of the file, without words for its state, as
    `envs.declared.unseen` gives it. expert: env -> action, where there is one that may play too.

    Raises UserError as `measured` and `automatic.chosen` do.
    """
    sees = read(path)["sees"]
    if sees == AUTO:
        parts = automatic.chosen(task, expert, episodes)
    else:
        parts = measured(task, parts_of(sees), expert, episodes)
    lines = [
        f"State words of {path.name}: {'what is seen to move, and ' * (sees == AUTO)}ranges from {episodes} episodes "
        f"of random play{f' and {episodes} of its expert' if expert else ''}.",
        "Written by `handeye sees`, and read whenever the task is used. Edit it before a policy is trained with it.",
    ]
    if not expert:
        lines += [
            "No expert played: what goes beyond random play has the word of the border. Widen such ranges; where the",
            f"task has an expert, handeye pretrain measures again with it, unless they are edited ({_digest(parts)}).",
        ]
    return text_of(parts, "\n".join(lines))


def _digest(parts: Parts) -> str:
    return blake2b(text_of(parts, "").encode(), digest_size=4).hexdigest()


def is_without_expert(file: Path) -> bool:
    """Whether a file holds ranges as random play alone showed them, and nobody has edited them since."""
    return f"({_digest(parts_of(read(file)))})" in file.read_text()


def exists(file: Path) -> UserError:
    return UserError(f"{str(file)!r} exists, and policies may have been trained with it; valid: --overwrite, or --dry")


def write(path: Path, text: str, overwrite: bool = False) -> Path:
    """Write the file beside a task's file, whole or not at all. Raises UserError for one that is there, and for a
    folder that cannot be written."""
    file = beside(path)
    if file.exists() and not overwrite:
        raise exists(file)
    valid = f"a folder that can be, or low and high under sees in {shown(path.name)}"
    return put(file, text, f"{valid}, as handeye sees {path} --dry prints them")
