"""`handeye improve`: rounds of self-improvement, the main job."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Fixed, Suppress

from agent.config import Config, load


@dataclass(frozen=True)
class Improve:
    """Rounds of self-improvement.

    Any key of the config can be overridden by `--dotted.key value` after the file's name.
    """

    config: Path  # a YAML file, such as configs/demo.yaml
    overwrite: bool = False  # replace the run folder if it exists
    overrides: Suppress[Fixed[tuple[str, ...]]] = ()  # the config's `--dotted.key value`, as typed

    def run(self) -> None:
        """Raises UserError, before the run folder is made, for a config that cannot run here."""
        settings = load(self.config, self.overrides)
        from agent.commands.checks import check_improve

        check_improve(settings)
        improve(settings, self.overwrite)


def improve(config: Config, overwrite: bool) -> None:
    """Run the rounds of a checked config, with worker processes of its own."""
    import torch

    from agent.collect.workers import Workers
    from agent.loop import improve as rounds
    from agent.record.rundir import RunDir

    torch.set_num_threads(config.threads)
    with Workers(config.workers) as workers:
        rounds(config, RunDir(Path(config.out), overwrite), workers)
