"""What was measured of a declared task, in a file beside its own that a person may edit: `game.yaml` has
`game.measured.yaml`.

levels, repeat: those that an expert still succeeds with (`agent/measure/ceiling.py`). A key of the task's own file goes
before one that was measured.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field
from pydantic.dataclasses import dataclass

from envs.errors import UserError
from envs.validation import STRICT, Count, checked, read

HEAD = "# Measured by handeye; the task's own file goes before this one. Edit it, or delete it to measure anew.\n"


@dataclass(frozen=True, config=STRICT)
class Measured:
    """levels, repeat: as of a declared task, None where they were not measured."""

    levels: Annotated[int, Field(ge=3)] | None = None
    repeat: Count | None = None


def path_of(task: str) -> Path:
    """The file of what was measured, beside the task's own, whether it exists or not."""
    return Path(task).with_suffix(".measured.yaml")


def measured(task: str) -> Measured:
    """What was measured of the task in a YAML file; nothing where there is no file. Raises UserError for a bad one."""
    path = path_of(task)
    if not path.is_file():
        return Measured()
    try:
        return checked(Measured, read(path))
    except UserError as error:
        raise UserError(f"{str(path)!r}: {error}") from error


def open_keys(task: str) -> tuple[str, ...]:
    """Which of `levels` and `repeat` neither the task's own file nor that of what was measured gives."""
    own, found = read(Path(task)), measured(task)
    if "id" not in own:  # questions, whose answers are no actions
        return ()
    return tuple(key for key in ("levels", "repeat") if own.get(key) is None and getattr(found, key) is None)


def note(task: str, **values: Any) -> Path:
    """Write keys into the file of what was measured, beside those that are there; whole or not at all.

    Raises UserError where it cannot be written.
    """
    path = path_of(task)
    held = read(path) if path.is_file() else {}
    keys = ", ".join(f"{key}: {value}" for key, value in values.items())
    text = HEAD + yaml.safe_dump(held | values, sort_keys=False)
    return put(path, text, f"a folder that can be written, or {keys} in {task!r}")


def put(path: Path, text: str, valid: str) -> Path:
    """Write a file beside a task's, whole or not at all. valid: what else can be done, for the UserError that is raised
    where it cannot be written."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be written: {error.strerror}; valid: {valid}") from error
    return path
