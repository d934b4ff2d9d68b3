"""`handeye improve`: rounds of self-improvement, the main job."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Fixed, Suppress

from agent.config import Config, load
from envs.errors import UserError

if TYPE_CHECKING:
    from agent.record.rundir import RunDir

OF_EACH = 5  # episodes of each folder that are simulated again where versions are forced


@dataclass(frozen=True)
class Improve:
    """Rounds of self-improvement.

    Any key of the config can be overridden by `--dotted.key value` after the file's name.
    """

    config: Path  # a YAML file, such as configs/demo.yaml
    resume: bool = False  # go on with the run in the run folder, which ends as if it had not been interrupted
    overwrite: bool = False  # replace the run folder if it exists
    force_version: bool = False  # with --resume: also with other packages, if the run's episodes happen again
    live: bool = False  # keep report.html fresh after every stage, not only after every round, by a process of its own
    json: Path | None = None  # a file to write what results.json holds to; without a name, the standard output
    overrides: Suppress[Fixed[tuple[str, ...]]] = ()  # the config's `--dotted.key value`, as typed

    def run(self) -> None:
        """Raises UserError, before the run folder is made or changed, for a config that cannot run here, and after the
        last round where none had a healthy training."""
        if self.resume and self.overwrite:
            raise UserError("--resume goes on with the run that --overwrite deletes; valid: one of them")
        settings = load(self.config, self.overrides)
        from agent.commands.arguments import are_foreign
        from agent.commands.outputs import document, emit, folder
        from agent.commands.probing import probe_apart

        settings = replace(settings, out=str(folder(settings.out, needs_mb=100)))
        said = document(self.json)
        tasks = (*settings.tasks, *settings.evaluation.tasks)
        probe_apart(tasks)  # before torch is imported
        from agent.commands.checks import check_improve

        check_improve(settings)
        apart = are_foreign(tasks)
        results = improve(settings, self.overwrite, self.resume, self.force_version, apart, self.live)
        emit(said, results)
        rounds = results["rounds"]
        if all("unhealthy" in row for row in rounds):
            raise UserError(f"no round trained a candidate; the last: {rounds[-1]['unhealthy']}")


def improve(
    config: Config,
    overwrite: bool = False,
    resume: bool = False,
    force_version: bool = False,
    apart: bool = False,
    live: bool = False,
) -> dict[str, Any]:
    """Run the rounds of a checked config, with worker processes of its own; returns what results.json holds.

    resume: go on with the run in the folder. apart: even a single worker is a process of its own.
    live: a process keeps the run's page fresh. Raises UserError for
    a folder that exists otherwise, unless it is overwritten, for a run that would not go on as it began, and where the
    disk is full or fails.
    """
    import torch

    from agent.collect.cluster.connection import connected
    from agent.collect.workers import Workers
    from agent.commands.outputs import telling_how_to_go_on
    from agent.loop import improve as rounds
    from agent.organise.durable import named_errors
    from agent.record.rundir import RunDir, go_on

    torch.set_num_threads(config.threads)
    out = Path(config.out)
    # what writes into it names its own file; here is the rest, such as locks and deletions
    with connected(config.engine, config.workers), named_errors(out):
        run = RunDir(out, overwrite, resume)
        try:
            if resume:
                _take_up(run, config, force_version)
            with (
                telling_how_to_go_on(lambda: go_on(run.path) if run.journal.begun else ""),
                named_errors(out),
                _followed(run, live),
                Workers(config.workers, config.limits, apart, config.engine) as workers,
            ):
                return rounds(config, run, workers)
        finally:
            run.close()


def _take_up(run: "RunDir", config: Config, force_version: bool) -> None:
    """Raises UserError for a run that would not go on as it began; sets aside what is damaged."""
    from agent.record.console import console
    from agent.record.run.resume import check_same, mend, other_versions
    from policies.base import find_policy

    check_same(run.path, run.journal, config, find_policy(config.policy))
    if other := other_versions(run.journal):
        if not force_version:
            raise UserError(f"{str(run.path)!r} began with other versions: {other}; valid: those, or --force-version")
        _check_certificates(run)
    for line in mend(run):
        console.print(line, soft_wrap=True, markup=False)


def _check_certificates(run: "RunDir") -> None:
    """Raises UserError where episodes of the run do not happen again with the packages of now."""
    from itertools import islice

    from agent.collect.verify import Verifier, is_exact
    from agent.organise.episode import simulation_versions
    from agent.organise.foreign import is_part
    from agent.organise.store import EpisodeStore

    with Verifier() as verifier:
        for folder in sorted({part.parent for part in filter(is_part, run.path.glob("*/**/part-*.parquet"))}):
            whole = (e for e in EpisodeStore(folder) if e.ending != "broken" and is_exact(e.task))
            for episode in islice(whole, OF_EACH):
                flaw = verifier.flaw(replace(episode, versions=simulation_versions()))
                if flaw:
                    raise UserError(
                        f"an episode in {str(folder)!r} does not happen again: {flaw}; valid: the versions of its time"
                    )


@contextmanager
def _followed(run: "RunDir", live: bool) -> Iterator[None]:
    """In the block, `handeye report --live` writes the run's page, unless it cannot."""
    import subprocess
    import sys

    if not live:
        yield
        return
    command = [sys.executable, "-m", "agent.cli", "report", str(run.path), "--live"]
    run.follower = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        run.close()  # what the follower waits for
        run.follower.wait()
