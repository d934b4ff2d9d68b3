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
        from agent.measure.reporting.run_report import follow, report

        out = self.out and _page(self.out)
        page = (follow if self.live else report)(self.run_folder, out, self.frames_budget)
        say(f"report   {page} ({page.stat().st_size / 1e6:.1f} MB)")


def _page(path: Path) -> Path:
    """A file for a page. Raises UserError for one that is no page's, and where it or its JSON would replace a file that
    is none of ours, such as a run's results.json."""
    from agent.commands.outputs import file
    from agent.record.report.page import is_ours

    out = file(path, needs_mb=20)
    if out.suffix != ".html":
        raise UserError(f"--out {str(path)!r}; valid: a file whose name ends in .html")
    for written in (out, out.with_suffix(".json")):
        if written.exists() and not is_ours(written):
            raise UserError(
                f"--out {str(path)!r} would replace {str(written)!r}, which is no report; valid: another name"
            )
    return out
