"""`handeye status`: where a run is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Status:
    """Where a run is, what each of its stages cost, and the command that goes on."""

    run_folder: Path  # such as runs/demo
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output

    def run(self) -> None:
        """Raises UserError for a folder that holds no run, or whose journal is damaged at its beginning."""
        from agent.commands.outputs import document, emit
        from agent.record.console import show
        from agent.record.run.status import state, table
        from agent.record.rundir import go_on

        out, where = document(self.json), state(self.run_folder)
        show(table(where))
        show(where.text)
        if not where.complete and not where.written:
            show(f"to go on: {go_on(self.run_folder)}")
        emit(out, where.record())
