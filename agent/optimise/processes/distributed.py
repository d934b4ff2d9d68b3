"""A training in several processes, one for each device (data parallel): started here, watched, and its model saved.

torch's launcher starts the processes (`agent.optimise.processes.rank`), and trl's trainers find each other in them
through accelerate. Each has the whole model and a share of every step's rows; gradients are averaged. Rows and settings
go through a file in the training's folder, and so do errors; what callbacks are told comes back through a pipe.
"""

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from transformers import TrainerCallback

from agent.optimise.callbacks import trainer_callback
from agent.optimise.health import UnhealthyError
from agent.organise.rows import Example, Pair
from agent.record.console import Bar
from envs.errors import UserError, first_line
from policies.backends.settings import ModelSettings

ROWS_A_STEP = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}  # trl's defaults
EVENT = "handeye-event: "  # what a line of the first process begins with that is for the callbacks
TRAINING, ERROR = "training.pickle", "error-*.json"  # in the training's folder; an error of each rank
ALONE = ("kto", "grpo")  # trained in one process
END_S = 30.0  # [s] for the launcher to end its processes


@dataclass(frozen=True)
class Training:
    """What is trained, and where.

    section: `sft`, `awr` or `dpo`, with the settings of trl's trainer. checkpoint: the policy that is trained further;
    with `dpo` it is the reference, too. seed: of new adapters. rows: `Example`s, or `Pair`s and what is rehearsed
    beside them. folder: of the training's own checkpoints, as in `train_sft`. out: where the trained policy is saved.
    threads: of torch, of all processes together.
    """

    section: Literal["sft", "awr", "dpo"]
    checkpoint: Path
    model: ModelSettings
    seed: int
    rows: Sequence[Example | Pair]
    settings: Mapping[str, Any]
    folder: Path
    out: Path
    threads: int = 1


def divided(settings: Mapping[str, Any], section: str, n: int) -> dict[str, Any]:
    """The settings of one of `n` processes, which take the rows of a step together. Raises UserError for a number of
    rows that does not divide."""
    size, times = (settings.get(name, default) for name, default in ROWS_A_STEP.items())
    if times % n == 0:
        return {**settings, "gradient_accumulation_steps": times // n}
    if size % n == 0:
        return {**settings, "per_device_train_batch_size": size // n}
    raise UserError(
        f"model.devices = {n}, and {section}.per_device_train_batch_size = {size} times gradient_accumulation_steps = "
        f"{times} do not divide by it; valid: one of them a multiple of {n}"
    )


def check_devices(model: ModelSettings, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError for more processes than there are devices, and for rows of a step that do not divide by them.

    sections: name -> settings of trl's trainer.
    """
    n, there = model.devices, torch.cuda.device_count()
    if n == 1:
        return
    if model.quantise != "none":
        raise UserError(f"model.devices = {n} and model.quantise = {model.quantise!r}; valid: 1, or none")
    if _kind(model) == "cuda" and n > there:
        raise UserError(f"model.devices = {n}, and {there} are visible; valid: 1 to {there}")
    for section, settings in sections.items():
        if section in ALONE:
            raise UserError(f"model.devices = {n} and optimise: {section}; valid: 1, or sft, awr, dpo")
        divided(settings, section, n)


def _kind(model: ModelSettings) -> str:
    """Where the processes train: `cpu`, or `cuda`, a device for each."""
    if model.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu" if model.device == "cpu" else "cuda"


def train_apart(training: Training, callbacks: Iterable[TrainerCallback | Bar] = ()) -> None:
    """Train in `training.model.devices` processes, and save the policy into `training.out`.

    It goes on from the newest checkpoint as a training in one process does. Raises UnhealthyError for a training that
    gives no policy, UserError where a process raised one, and for one that failed or was killed.
    """
    n, folder = training.model.devices, training.folder
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(ERROR):
        old.unlink()
    model = replace(training.model, device=_kind(training.model))
    shared = replace(training, model=model, settings=divided(training.settings, training.section, n))
    (folder / TRAINING).write_bytes(pickle.dumps(shared))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    command += ["-m", "agent.optimise.processes.rank", str(folder / TRAINING)]
    environment, stderr = _environment(model.device, max(1, training.threads // n)), folder / "stderr.txt"
    with stderr.open("w") as said:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said, "text": True}
        process = subprocess.Popen(command, env=environment, **pipes)  # stdin stays open while this process lives
        try:
            _forward(process.stdout, [trainer_callback(each) for each in callbacks])
            status = process.wait()
        finally:
            _end(process)
    if status:
        raise _fault(folder, stderr.read_text(), n)
    (folder / TRAINING).unlink()


def _environment(device: str, threads: int) -> dict[str, str]:
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    return environment | ({"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {})


def _forward(lines: Iterable[str], callbacks: Sequence[TrainerCallback]) -> None:
    """Tell the callbacks what the first process was told, until its end; other lines are dropped."""
    for line in lines:
        if line.startswith(EVENT):
            event = json.loads(line.removeprefix(EVENT))
            for callback in callbacks:
                tell = getattr(callback, event["event"])
                tell(None, SimpleNamespace(**event["state"]), None, logs=event["logs"])


def _end(process: subprocess.Popen) -> None:
    """End the launcher, and with it its processes, where this process goes on without it."""
    process.stdin.close()
    process.stdout.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _fault(folder: Path, stderr: str, n: int) -> UserError:
    """What the processes died of: an error that one names before those of its neighbours, which lost it."""
    errors = [json.loads(path.read_text()) for path in sorted(folder.glob(ERROR))]
    for kind in (UnhealthyError, UserError):
        for error in errors:
            if error["kind"] == kind.__name__:
                return kind(error["message"])
    killed = re.findall(r"Signal \d+ \((SIG\w+)\)", stderr)
    if killed:  # by SIGTERM the launcher ends the others
        what = f"was killed by {next((signal for signal in killed if signal != 'SIGTERM'), 'SIGTERM')}"
    elif errors:
        what = f"raised {errors[0]['kind']}: {errors[0]['message']}"
    else:
        what = f"failed: {first_line(RuntimeError(stderr.strip().splitlines()[-1] if stderr.strip() else 'silently'))}"
    return UserError(f"one of {n} training processes {what[:300]}; all of it: {str(folder / 'stderr.txt')!r}")
