"""The folder of an export: made under another name, and put in its place when it is whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.organise import durable
from agent.record import ownership

KIND = "export"


def check(out: Path, overwrite: bool) -> None:
    """Raises UserError for a folder that exists, unless it is an export and may be overwritten."""
    ownership.check_replaceable(out, overwrite, KIND)


@contextmanager
def made(out: Path) -> Iterator[Path]:
    """In the block, the folder to write into, which becomes `out` at its end; nothing is left where the block raises.

    Raises UserError where the disk is full or fails.
    """
    fresh = ownership.scratch(out)
    ownership.begin(fresh, KIND)
    try:
        with durable.named_errors(out):
            yield fresh
    except BaseException:
        ownership.remove(fresh)
        raise
    ownership.replace(fresh, out)
