"""What `eval` and `audit` leave beside their numbers where they are asked to: a page, and metrics in sinks."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.commands.outputs import STDOUT
from agent.config import Tracking
from envs.errors import UserError

if TYPE_CHECKING:
    from agent.record.tracking import Tracker

NOT_REPEATED = {"json", "report", "tracking"}  # options that change no number
DISABLED = Tracking("disabled")


def check_page(path: Path | None, json: Path | None) -> Path | None:
    """Where `--report` writes. json: where `--json` does. Raises UserError for a file that is none of a page, and where
    the page's own JSON would be the other."""
    if path is None:
        return None
    if json and json.absolute() == path.with_suffix(".json").absolute():
        raise UserError(f"--report {str(path)!r} has its own JSON, {str(json)!r}; valid: another name for --json")
    from agent.commands.reporting.report import page_file

    return page_file(path, "--report")


def check_tracking(settings: Tracking, *files: Path | None) -> Path | None:
    """The file beside which metrics are kept, the first of these that is named; None without tracking.

    Raises UserError where none is named, for a sink whose package is missing, and for a login that W&B refuses.
    """
    if settings == DISABLED:
        return None
    from agent.commands.checks import check_login
    from agent.record.tracking.sinks import check_installed

    named = [path for path in files if path not in (None, STDOUT)]
    if not named:
        raise UserError("tracking without a file: metrics are kept beside one; valid: --report FILE or --json FILE too")
    check_installed(settings)
    check_login(settings)
    return named[0]


@contextmanager
def tracker(command: Any, name: str, beside: Path | None, *tags: str) -> "Iterator[Tracker | None]":
    """A tracker of the command's job, in `FILE.metrics`; None without a file beside which it would be."""
    if beside is None:
        yield None
        return
    from agent.record.tracking import TrackedJob
    from agent.record.tracking.beside import tracked

    job = TrackedJob(name, typed(command, name), tags)
    with tracked(beside, command.tracking, settings(command), job) as opened:
        yield opened


def settings(command: Any) -> dict[str, Any]:
    """The command's options, as a page and a sink show them."""
    shown = {field.name: getattr(command, field.name) for field in fields(command) if field.name not in NOT_REPEATED}
    return {name: asdict(value) if is_dataclass(value) else value for name, value in shown.items()}


def typed(command: Any, name: str) -> str:
    """The command line that repeats a command: what differs from its defaults."""
    return shlex.join(["handeye", name, *_options(command, type(command), "")])


def _options(value: Any, kind: type, prefix: str) -> list[str]:
    words: list[str] = []
    for field in fields(kind):
        given = getattr(value, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if field.name in NOT_REPEATED or given == default:
            continue
        option = f"--{prefix}{field.name.replace('_', '-')}"
        if is_dataclass(given):
            words += _options(given, type(given), f"{prefix}{field.name.replace('_', '-')}.")
        elif isinstance(given, bool):
            words.append(option if given else f"--{prefix}no-{field.name.replace('_', '-')}")
        elif field.default is MISSING and field.default_factory is MISSING:  # typed without its name
            words.append(str(given))
        else:
            words += [option, *map(str, given if isinstance(given, list | tuple) else (given,))]
    return words
