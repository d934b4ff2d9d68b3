"""`handeye status`: where a run is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Status:
    """Where a run is, what each of its stages cost, and the command that goes on."""

    run_folder: Path  # such as runs/demo

    def run(self) -> None:
        """Raises UserError for a folder that holds no run, or whose journal is damaged at its beginning."""
        from agent.record.console import console
        from agent.record.run.status import state, table
        from agent.record.rundir import go_on

        where = state(self.run_folder)
        console.print(table(where), markup=False)
        console.print(where.text, soft_wrap=True, markup=False)
        if not where.complete and not where.written:
            console.print(f"to go on: {go_on(self.run_folder)}", soft_wrap=True, markup=False)
