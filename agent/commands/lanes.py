"""The runs of an experiment: one after the other in this process, or several at once, each in one of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from agent.config import Config, Experiment, load
from agent.measure.compare import is_done
from agent.record.console import say
from agent.record.run.journal import FILE as JOURNAL
from agent.record.rundir import plain
from envs.errors import UserError

POLL_S = 0.5


def lanes_of(experiment: Experiment) -> int:
    """As many runs at once as this machine has cores for. Raises UserError for a bad key or value."""
    config = load(Path(experiment.base), changes=experiment.common)
    return max(1, (os.cpu_count() or 1) // max(config.workers, config.threads))


def in_turn(configs: Iterator[Config]) -> None:
    """In this process, one after the other."""
    from agent.commands.arguments import are_foreign
    from agent.commands.training.improve import improve

    for config in configs:
        apart = are_foreign((*config.tasks, *config.evaluation.tasks))
        improve(config, resume=_is_begun(config), apart=apart)


def side_by_side(configs: Iterator[Config], lanes: int) -> None:
    """At most `lanes` processes of `handeye improve` at once; what each prints goes to a log beside its run's folder.

    Raises UserError where one ends without results; the others are ended too, and can go on later.
    """
    running: list[tuple[Config, subprocess.Popen]] = []
    with TemporaryDirectory() as scratch:
        try:
            while True:
                while len(running) < lanes and (config := next(configs, None)):
                    running.append((config, _begin(config, Path(scratch))))
                if not running:
                    return
                time.sleep(POLL_S)
                ended = [each for each in running if each[1].poll() is not None]
                running = [each for each in running if each not in ended]
                for config, process in ended:
                    _check(config, process.returncode)
        finally:
            for _, process in running:
                process.terminate()
            for _, process in running:
                process.wait()


def _begin(config: Config, scratch: Path) -> subprocess.Popen:
    file, log = scratch / f"{len(list(scratch.iterdir()))}.yaml", _log(config.out)
    file.write_text(yaml.safe_dump(plain(asdict(config)), sort_keys=False))
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "agent.cli", "improve", str(file), *(["--resume"] if _is_begun(config) else [])]
    with log.open("ab") as into:
        return subprocess.Popen(command, stdout=into, stderr=subprocess.STDOUT)


def _check(config: Config, status: int) -> None:
    if not is_done(config):
        log = _log(config.out)
        said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        raise UserError(f"run {config.out!r} ended with status {status}: {said[-1].strip()}; its log: {str(log)!r}")
    say(f"done     {config.out}")


def _log(out: str) -> Path:
    return Path(f"{out}.log")


def _is_begun(config: Config) -> bool:
    return (Path(config.out) / JOURNAL).is_file()
