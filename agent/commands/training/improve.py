"""`handeye improve`: rounds of self-improvement, the main job."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Fixed, Suppress

from agent.config import Config, load
from envs.errors import UserError


@dataclass(frozen=True)
class Improve:
    """Rounds of self-improvement.

    Any key of the config can be overridden by `--dotted.key value` after the file's name.
    """

    config: Path  # a YAML file, such as configs/demo.yaml
    overwrite: bool = False  # replace the run folder if it exists
    overrides: Suppress[Fixed[tuple[str, ...]]] = ()  # the config's `--dotted.key value`, as typed

    def run(self) -> None:
        """Raises UserError, before the run folder is made, for a config that cannot run here, and after the last round
        where none had a healthy training."""
        settings = load(self.config, self.overrides)
        from agent.commands.checks import check_improve

        check_improve(settings)
        rounds = improve(settings, self.overwrite)["rounds"]
        if all("unhealthy" in row for row in rounds):
            raise UserError(f"no round trained a candidate; the last: {rounds[-1]['unhealthy']}")


def improve(config: Config, overwrite: bool) -> dict[str, Any]:
    """Run the rounds of a checked config, with worker processes of its own; returns what results.json holds."""
    import torch

    from agent.collect.workers import Workers
    from agent.loop import improve as rounds
    from agent.record.rundir import RunDir

    torch.set_num_threads(config.threads)
    with Workers(config.workers) as workers:
        return rounds(config, RunDir(Path(config.out), overwrite), workers)
