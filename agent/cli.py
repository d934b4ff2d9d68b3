"""The `handeye` command line. A command imports what it needs when it runs, so that `--help` is fast."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from types import FrameType
from typing import Protocol

from tyro.conf import PositionalRequiredArgs
from tyro.extras import subcommand_cli_from_dict

from agent.commands.arguments import split_overrides, with_json_file
from agent.commands.outputs import STDOUT, stdout_for_json
from agent.commands.playing.audit import Audit
from agent.commands.playing.evaluate import Evaluate
from agent.commands.playing.rollout import Rollout
from agent.commands.playing.watch import Watch
from agent.commands.reporting.export import Export
from agent.commands.reporting.replay import Replay
from agent.commands.reporting.report import Report
from agent.commands.reporting.status import Status
from agent.commands.serving.serve import Serve
from agent.commands.setup.assemble import Assemble
from agent.commands.setup.bench import Bench
from agent.commands.setup.completion import Completion
from agent.commands.setup.doctor import Doctor
from agent.commands.setup.init import Init
from agent.commands.setup.questions import Questions
from agent.commands.setup.sees import Sees
from agent.commands.setup.tasks import Tasks
from agent.commands.setup.try_out import Try
from agent.commands.sharing.merge import Merge
from agent.commands.sharing.push import Push
from agent.commands.training.baseline import Baseline
from agent.commands.training.compare import Compare
from agent.commands.training.improve import Improve
from agent.commands.training.pretrain import Pretrain
from envs.errors import SimulatorError, UserError

# Waiting torch threads must not spin: on a shared CPU, spinning slows single-frame inference by tens of times.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


QUIET = "--quiet"
DESCRIPTION = """An embodied agent that teaches itself in simulation.

With --quiet, a command prints its result and errors alone. With --json, where a command has it, its standard output is
one JSON document, and all else goes to the standard error; with --json FILE.json, the document goes into a file."""


class Command(Protocol):
    """A command: a dataclass of its arguments, which tyro fills, and what it does."""

    def run(self) -> None: ...


COMMANDS: dict[str, type[Command]] = {
    "improve": Improve,
    "compare": Compare,
    "eval": Evaluate,
    "audit": Audit,
    "rollout": Rollout,
    "report": Report,
    "status": Status,
    "replay": Replay,
    "export": Export,
    "watch": Watch,
    "pretrain": Pretrain,
    "questions": Questions,
    "assemble": Assemble,
    "baseline": Baseline,
    "tasks": Tasks,
    "init": Init,
    "try": Try,
    "sees": Sees,
    "doctor": Doctor,
    "bench": Bench,
    "completion": Completion,
    "serve": Serve,
    "merge": Merge,
    "push": Push,
}


def parse(arguments: Sequence[str]) -> Command:
    """The command with its arguments. Exits with status 2 for arguments that do not parse, and with 0 for `--help`.

    A command with a field `overrides` takes every key of its config as an option beside its own.
    """
    name, rest, overrides = arguments[:1], list(arguments[1:]), []
    takes = fields(COMMANDS[name[0]]) if name and name[0] in COMMANDS else ()
    if "json" in {field.name for field in takes}:
        rest = with_json_file(rest)
    if "overrides" in {field.name for field in takes}:
        rest, overrides = split_overrides(rest, [field.name for field in takes if field.type is bool])
    command = subcommand_cli_from_dict(
        COMMANDS,
        prog="handeye",
        description=DESCRIPTION,
        args=[*name, *rest],
        config=(PositionalRequiredArgs,),
    )
    return replace(command, overrides=tuple(overrides)) if overrides else command


def main() -> None:
    """Run a command. A UserError becomes one line on stderr and exit status 2, and so does a simulation that went wrong
    where it is no episode's that could be broken, as in the training of a baseline.

    SIGINT and SIGTERM end the command with status 130 and 143, once it has let go of what it holds; a second one ends
    it at once.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    quiet = QUIET in sys.argv[1:]
    try:
        command = parse([argument for argument in sys.argv[1:] if argument != QUIET])
        if quiet:
            from agent.record.console import console

            console.quiet = True
        with stdout_for_json(getattr(command, "json", None) == STDOUT):
            command.run()
    except (UserError, SimulatorError) as error:
        print(f"handeye: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stopped:
        number = stopped.args[0] if stopped.args else signal.SIGINT
        print(f"handeye: stopped by {signal.Signals(number).name}", file=sys.stderr)
        sys.exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda again, frame: os._exit(128 + again))
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    main()
