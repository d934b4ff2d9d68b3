"""A tiny run of the whole loop, cheap enough to be resumed hundreds of times, and what has to be the same of two runs.

All paths in it are relative: two runs in two folders give the same bytes.
"""

import contextlib
import gc
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from agent.commands.training import improve as command
from agent.config import Config, load
from agent.record.run.journal import FILE as JOURNAL

RUN, CONFIG, TASK, POLICY = "run", "tiny.yaml", "guessing.yaml", "nano"
TRAINER = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1, "save_steps": 1}
VALUES = {
    "policy": POLICY,
    "tasks": [TASK],
    "out": RUN,
    "rounds": 2,
    "n_envs": 8,
    "threads": 1,
    "collect": {"starts": 2, "attempts": 2, "archived": 1},
    "branch": {"starts": 2, "where": "early", "moments": 1, "answers": 2, "anywhere": 1, "follow_temperature": 1.0},
    "select": {"critiques": 4, "min_margin": {"success": 0.1, "saved": 0.1}},
    "gate": {"episodes": 1, "p_value": 1.0},
    "evaluation": {"tasks": [TASK], "episodes": 1, "videos": 0},
    "tracking": {"mode": "disabled"},
    "sft": TRAINER,
    "dpo": TRAINER,
}
TIMINGS = ("_per_s", "runtime", "_per_second", "/epoch")  # ends of names in metrics.jsonl that differ from run to run
OF_A_TRAINING = ("sft/", "dpo/")  # their numbers, after a resumed training, are those of the steps since


NOT_COMPARED = (".lock", "wandb.json", "report.html", "report.json")  # the report has times; nothing reads it


def prepare(folder: Path, **changes: Any) -> None:
    """Write the seed policy, the declared task and the config into the folder."""
    from agent.optimise.pretrain import words
    from envs.registry import task
    from policies.backends import nano
    from policies.backends.huggingface import HFBackend

    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        declared = {
            "id": "tests.reliability.guessing:HandEyeTest/Guessing-v0",
            "instruction": "guess the side",
            "success": {"of": "return", "at_least": 1},
            "image_size": 16,
            "actions": ["left", "middle", "right"],
        }
        Path(TASK).write_text(json.dumps(declared))
        with mock.patch.multiple(nano, WIDTH=16, LAYERS=1, HEADS=1):
            HFBackend(*nano.build(words([task(TASK)]), seed=0)).save(Path(POLICY))
        Path(CONFIG).write_text(json.dumps(VALUES | changes))


def go(resume: bool) -> dict[str, Any]:
    """`handeye improve CONFIG [--resume]` in the working folder and in this process, but for the checks of a config."""
    from agent.collect.workers import release

    config: Config = load(Path(CONFIG))
    release()  # no policy of an earlier run, whose files had the same paths
    return command.improve(config, resume=resume)


def result(run: Path) -> dict[str, str]:
    """Path -> SHA-256 of what two runs must have in common: all files of the run, without times."""
    found = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = path.relative_to(run).as_posix()
        if name not in NOT_COMPARED and not name.startswith(("quarantine/", "wandb/")):
            found[name] = hashlib.sha256(normal(name, path.read_bytes())).hexdigest()
    return found


def normal(name: str, content: bytes) -> bytes:
    """The content of a run's file without times, which differ from run to run. name: relative to the run's folder."""
    if name == JOURNAL:
        return b"".join(_lines(content, _without_wall))
    if name == "metrics.jsonl":
        return b"".join(_lines(content, _without_timings))
    if name == "results.json":
        values = json.loads(content)
        del values["budget"]["wall_s"]
        return json.dumps(values, sort_keys=True).encode()
    return content


def _lines(content: bytes, change: Any) -> Iterator[bytes]:
    """Each line, changed where it is whole."""
    for line in content.splitlines(keepends=True):
        try:
            yield json.dumps(change(json.loads(line))).encode() + line[-1:]
        except (ValueError, AttributeError, TypeError):
            yield line


def _without_wall(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("wall_s", "checksum")}


def _without_timings(line: Mapping[str, Any]) -> dict[str, Any]:
    """Of trainings only the names."""
    kept = {key: value for key, value in line.items() if not key.endswith(TIMINGS)}
    return {key: None if key.startswith(OF_A_TRAINING) else value for key, value in kept.items()}


@contextlib.contextmanager
def cheap() -> Iterator[None]:
    """In the block, tiny runs are quiet, have one thread, probe each kind of model once, and write no report: its times
    would make each state of the folder a new one."""
    import torch

    from agent.measure.reporting import run_report
    from agent.record.console import console
    from policies.backends import loading

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    unreported = mock.patch.object(run_report, "refresh")
    with warnings.catch_warnings(), mock.patch.object(console, "quiet", True), unreported:
        warnings.simplefilter("ignore")
        with mock.patch.object(loading, "probe", _remembering(loading.probe)):
            yield
    torch.set_num_threads(threads)


def _remembering(probe: Callable[[Any], None]) -> Callable[[Any], None]:
    """A probe that is made once: all models of the tiny runs are of one kind and size."""
    found = list[dict[str, Any]]()  # what it changed

    def probed(backend: Any) -> None:
        if not found:
            before = dict(vars(backend))
            probe(backend)
            found.append({name: value for name, value in vars(backend).items() if before.get(name) is not value})
        vars(backend).update(found[0])

    return probed


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """In the block, what is there by now is no garbage: each of the loop's collections takes milliseconds."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


if __name__ == "__main__":  # python -m tests.reliability.tiny FOLDER: to try a command by hand
    import sys

    prepare(Path(sys.argv[1]), workers=2)
