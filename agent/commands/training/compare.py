"""`handeye compare`: the arms of an experiment."""

from dataclasses import dataclass, replace
from functools import partial
from json import loads
from pathlib import Path

from agent.config import Experiment, load


@dataclass(frozen=True)
class Compare:
    """The arms of an experiment: runs that differ in some config keys, with several seeds, on the same episodes.

    Finished runs are kept, and unfinished ones go on: to add a seed or an arm, run the command again. Runs of another
    config, code version or seed policy are moved aside and run again.
    """

    config: Path  # a YAML file, such as configs/experiments/branching.yaml
    seeds: tuple[int, ...] | None = None  # instead of the seeds in the config
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output
    against: str | None = None  # the arm that each is compared with, instead of the first
    lanes: int | None = None
    """runs at once, each a process with a log beside its folder; as many as the cores allow by default"""

    def run(self) -> None:
        """Raises UserError, before the first run, for a config or an arm that cannot run here."""
        settings = load(self.config, kind=Experiment)
        settings = replace(settings, seeds=self.seeds) if self.seeds else settings
        from agent.commands.outputs import document, emit, folder

        out, said = folder(settings.out, needs_mb=100), document(self.json)
        from agent.commands.arguments import at_least
        from agent.commands.checks import check_improve
        from agent.commands.lanes import in_turn, lanes_of, side_by_side
        from agent.measure.compare import compare_arms

        lanes = lanes_of(settings) if self.lanes is None else self.lanes
        at_least(1, lanes=lanes)
        run_each = partial(side_by_side, lanes=lanes) if lanes > 1 else in_turn
        print(compare_arms(settings, out, check_improve, run_each, self.against, lanes))
        self._page(out)
        emit(said, loads((out / "table.json").read_text()))

    def _page(self, out: Path) -> None:
        """Write the page of the comparison: one that cannot be written is a line, and the table stays."""
        from agent.measure.reporting.compare_report import report
        from agent.record.console import say
        from envs.errors import UserError, first_line

        try:
            say(f"report   {report(out)}")
        except Exception as error:  # whatever a page stumbles on, the table is there
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
            say(f"report.html is not written: {why}; later: handeye report {out}")
