"""`handeye report`: the page of a run."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from envs.errors import UserError


@dataclass(frozen=True)
class Report:
    """Write the page of a run or of a comparison, one HTML file that opens from the file system, and the same as JSON
    beside it."""

    run_folder: Positional[Path | None] = None  # of `improve` or `compare`, such as runs/demo
    frames_budget: float = 12.0  # [MB] of embedded frames; failures and regressed episodes keep theirs first
    out: Path | None = None  # the page's file; by default report.html in the run's folder
    live: bool = False  # write it again whenever a stage of the run is done, until the run ends
    beside: tuple[Path, ...] = ()
    """folders of `baseline`, `compare` or `improve`, whose success over environment steps is drawn beside the run's"""
    index: Path | None = None  # instead of a run: write index.html into this folder, which lists its runs

    def run(self) -> None:
        """Raises UserError for a folder that holds no run."""
        from agent.record.console import say

        if (self.run_folder is None) == (self.index is None):
            raise UserError("handeye report; valid: one of a run's folder, and --index FOLDER")
        if self.frames_budget < 0:
            raise UserError(f"--frames-budget {self.frames_budget:g}; valid: megabytes, at least 0")
        if self.beside and self.index is not None:
            raise UserError("--beside with --index; valid: with a run's folder")
        if self.index is not None:
            from agent.record.report.index import write_index

            say(f"index    {write_index(self.index)}")
            return
        from agent.record.report.beside import is_comparison

        out = self.out and page_file(self.out)
        if is_comparison(self.run_folder):
            page = self._comparison(out)
        elif self.live:
            from agent.measure.reporting.run_report import follow

            page = follow(self.run_folder, out, self.frames_budget, self.beside)
        else:
            from agent.measure.reporting.run_report import report

            page = report(self.run_folder, out, self.frames_budget, beside=self.beside)
        say(f"report   {page} ({page.stat().st_size / 1e6:.1f} MB)")

    def _comparison(self, out: Path | None) -> Path:
        from agent.measure.reporting.compare_report import report

        if self.live:
            raise UserError("--live of a comparison; valid: of a run's folder, such as one of its runs")
        return report(self.run_folder, out, self.frames_budget, self.beside)


def page_file(path: Path, option: str = "--out") -> Path:
    """A file for a page. option: that names it.

    Raises UserError for one that is no page's, and where it or its JSON would replace a file that is none of ours, such
    as a run's results.json.
    """
    from agent.commands.outputs import file
    from agent.record.report.page import is_ours

    out = file(path, needs_mb=20)
    if out.suffix != ".html":
        raise UserError(f"{option} {str(path)!r}; valid: a file whose name ends in .html")
    for written in (out, out.with_suffix(".json")):
        if written.exists() and not is_ours(written):
            raise UserError(
                f"{option} {str(path)!r} would replace {str(written)!r}, which is no report; valid: another name"
            )
    return out
