"""`handeye compare`: the arms of an experiment."""

from dataclasses import dataclass, replace
from json import loads
from pathlib import Path

from agent.config import Config, Experiment, load


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

    def run(self) -> None:
        """Raises UserError, before the first run, for a config or an arm that cannot run here."""
        settings = load(self.config, kind=Experiment)
        settings = replace(settings, seeds=self.seeds) if self.seeds else settings
        from agent.commands.outputs import document, emit, folder

        out, said = folder(settings.out, needs_mb=100), document(self.json)
        from agent.commands.arguments import are_foreign
        from agent.commands.checks import check_improve
        from agent.commands.training.improve import improve
        from agent.measure.compare import compare_arms
        from agent.record.run.journal import FILE as JOURNAL

        def run(config: Config) -> None:
            begun = (Path(config.out) / JOURNAL).is_file()
            apart = are_foreign((*config.tasks, *config.evaluation.tasks))
            improve(config, resume=begun, apart=apart)

        print(compare_arms(settings, out, check_improve, run, self.against))
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
