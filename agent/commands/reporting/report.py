"""`handeye report`: the page of a run."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from envs.errors import UserError


@dataclass(frozen=True)
class Report:
    """Write a run's page, one HTML file that opens from the file system, and the same as JSON beside it."""

    run_folder: Positional[Path | None] = None  # such as runs/demo
    frames_budget: float = 12.0  # [MB] of embedded frames; failures and regressed episodes keep theirs first
    out: Path | None = None  # the page's file; by default report.html in the run's folder
    live: bool = False  # write it again whenever a stage of the run is done, until the run ends
    index: Path | None = None  # instead of a run: write index.html into this folder, which lists its runs

    def run(self) -> None:
        """Raises UserError for a folder that holds no run."""
        from agent.record.console import say

        if (self.run_folder is None) == (self.index is None):
            raise UserError("handeye report; valid: one of a run's folder, and --index FOLDER")
        if self.frames_budget < 0:
            raise UserError(f"--frames-budget {self.frames_budget:g}; valid: megabytes, at least 0")
        if self.index is not None:
            from agent.record.report.index import write_index

            say(f"index    {write_index(self.index)}")
            return
        from agent.measure.run_report import follow, report

        page = (follow if self.live else report)(self.run_folder, self.out, self.frames_budget)
        say(f"report   {page} ({page.stat().st_size / 1e6:.1f} MB)")
