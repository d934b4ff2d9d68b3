"""SIGKILL at random moments of a real run, to its parent process or to a worker; each time it is resumed.

    python -m tests.reliability.killing configs/demo.yaml --kills 50 --seed 0 --minutes 40 \
        --set collect.starts=20 --set branch.starts=20 --set sft.max_steps=40

First the run goes undisturbed, then again under fire, in a folder of its own with the same relative paths. A run that
ends before all kills are spent is compared, and begun anew. Both runs take the code from a copy in --out, so that the
checkout may change meanwhile. `killing.jsonl` in --out has a line for each kill, with time, victim and stage, and one
for each end of a run. Exits with status 1 where a run does not end as the undisturbed one.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from agent.record.run.journal import FILE as JOURNAL
from tests.reliability.recording import difference
from tests.reliability.tiny import result

ROOT = Path(__file__).resolve().parents[2]
RUN = "run"
HANDEYE = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]  # not the code of the working folder
END_S = 30.0  # [s] for workers to end after their parent
MOST_FAILED = 3  # runs that did not end as the undisturbed one, after which no more are begun
WORKER = 0.5  # share of kills that hit a worker, where there is one


@dataclass
class Fire:
    """A run under fire in a folder. code: where its code is. arguments: of `handeye improve`."""

    folder: Path
    code: Path
    arguments: list[str]
    rng: random.Random
    log: Path
    counted: Counter = field(default_factory=Counter)

    def start(self) -> subprocess.Popen:
        """Begin the run, or go on with it where there is a journal."""
        resume = ["--resume"] if (self.folder / RUN / JOURNAL).is_file() else []
        return _start(self.folder, self.code, [*self.arguments, *resume])

    def kill(self, process: subprocess.Popen) -> str:
        """Kill the parent or a worker; returns which, empty where the run has ended."""
        if process.poll() is not None:
            return ""
        parent = psutil.Process(process.pid)
        victims, name = workers(parent), "worker"
        if not victims or self.rng.random() >= WORKER:
            victims, name = [parent], "parent"
        stage, victim = stage_of(self.folder / RUN), self.rng.choice(victims)
        others = parent.children(recursive=True) if name == "parent" else []
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return ""
        if name == "parent":
            process.wait()
        survivors = len(psutil.wait_procs(others, timeout=END_S)[1])
        self.counted[name] += 1
        self.write({"victim": name, "stage": stage} | ({"survivors": survivors} if survivors else {}))
        return name

    def write(self, line: dict[str, Any]) -> None:
        line = {"at": time.strftime("%H:%M:%S")} | line
        print(json.dumps(line), flush=True)
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")


def workers(parent: psutil.Process) -> list[psutil.Process]:
    """The worker processes of a run: children of its fork server."""
    found = []
    for child in parent.children():
        if "forkserver" in " ".join(_line(child)):
            found += child.children()
    return found


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def stage_of(run: Path) -> str:
    """The stage that is under way."""
    found = sorted((run / ".partial").glob("*"))
    return found[-1].name if found else "between stages"


def _start(folder: Path, code: Path, arguments: list[str]) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            [*HANDEYE, "improve", *arguments], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def undisturbed(folder: Path, code: Path, arguments: list[str]) -> tuple[float, float]:
    """Run to the end, unless that was done before; returns how long its start took, and the rest [s]."""
    done = folder / "took_s.json"
    if not done.exists():
        shutil.rmtree(folder / RUN, ignore_errors=True)
        began, process, start_s = time.monotonic(), _start(folder, code, arguments), None
        while process.poll() is None:
            if start_s is None and (folder / RUN / JOURNAL).exists():
                start_s = time.monotonic() - began
            time.sleep(0.2)
        if process.returncode:
            sys.exit(f"the undisturbed run failed; see {folder / 'output.txt'}")
        done.write_text(json.dumps([start_s, time.monotonic() - began - start_s]))
    return tuple(json.loads(done.read_text()))


def under_fire(fire: Fire, kills: int, mean_s: float, expected: dict[str, str]) -> None:
    """Kill until all kills are spent, then let the run end. mean_s: [s] between two kills."""
    left, process = kills, fire.start()
    while left or process is not None:
        if left:
            try:
                process.wait(fire.rng.uniform(0, 2 * mean_s))
            except subprocess.TimeoutExpired:
                name = fire.kill(process)
                left -= bool(name)
                if name == "parent":
                    process = fire.start()
                continue
        _ended(fire, process.wait(), expected)
        process = fire.start() if left and fire.counted["FAILED"] < MOST_FAILED else None
        left = left if process else 0


def _ended(fire: Fire, status: int, expected: dict[str, str]) -> None:
    """Compare a run that has ended; one that ended otherwise is kept, under another name."""
    run = fire.folder / RUN
    if status:
        tail = (fire.folder / "output.txt").read_text().strip().splitlines()[-1]
        what = f"exit status {status}: {tail}"
    else:
        what = difference(result(run), expected)
    fire.counted["same" if not what else "FAILED"] += 1
    fire.write({"run ended": what or "same", **fire.counted})
    if what:
        run.rename(fire.folder / f"failed-{int(time.time())}")
    else:
        shutil.rmtree(run)


def copied(folder: Path) -> Path:
    """A copy of the code as it is now, unless it was made before."""
    for name in ("agent", "envs", "policies", "tests"):
        if not (folder / name).exists():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def beside(folder: Path) -> Path:
    """A working folder in which the relative paths of a config lead where they lead here."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in Path.cwd().iterdir():
        ours = entry.name == RUN or folder.is_relative_to(entry.resolve())
        if not entry.name.startswith(".") and not ours and not (folder / entry.name).exists():
            (folder / entry.name).symlink_to(entry.resolve())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=40.0, help="that the kills may take, at most")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="overrides a key of the config")
    parser.add_argument("--out", type=Path, default=Path("runs/torture/killing"))
    options = parser.parse_args()
    arguments = [str(options.config), "--out", RUN]
    for key, value in (each.split("=", 1) for each in options.set):
        arguments += [f"--{key}", value]
    out = options.out.resolve()
    code = copied(out / "code")
    calm, folder = beside(out / "undisturbed"), beside(out / "killed")
    start_s, work_s = undisturbed(calm, code, arguments)
    mean_s = min(work_s / options.kills + start_s, 60 * options.minutes / options.kills)
    print(f"undisturbed: {start_s:.0f} + {work_s:.0f} s; {options.kills} kills, one in {mean_s:.0f} s", flush=True)
    shutil.rmtree(folder / RUN, ignore_errors=True)
    fire = Fire(folder, code, arguments, random.Random(options.seed), out / "killing.jsonl")
    started = time.monotonic()
    under_fire(fire, options.kills, mean_s, result(calm / RUN))
    print(f"{dict(fire.counted)} in {time.monotonic() - started:.0f} s")
    sys.exit(1 if fire.counted["FAILED"] else 0)


if __name__ == "__main__":
    main()
