"""Workers that are killed at random moments, over and over.

    python -m tests.reliability.lost_workers --runs 10 --seed 0       # whole tiny runs: the same files each time
    python -m tests.reliability.lost_workers --minutes 5 --seed 0     # rollouts without end: nothing grows

With --runs, a run that ends because one query killed two workers is resumed, as its last line says.

With --minutes, two workers roll out the tiny task, and one of them is killed every few seconds. Memory and open files
of the parent, and the number of its processes, are printed; every episode that was begun has to be finished, broken, or
begun again. Exits with status 1 where one is not, where memory or files grow, or a run differs.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from tests.reliability import tiny
from tests.reliability.killing import workers
from tests.reliability.recording import difference, go_on

STEP_S = 0.05  # of the environment: kills hit episodes, not only what is between them
GROWTH = 1.1  # of memory, from the first third of the time to the last
SOME_FILES = 8  # open ones, beyond which they have grown


@contextmanager
def killer(rng: random.Random, every_s: float, counted: Counter) -> Iterator[None]:
    """In the block, a worker of this process is killed about every `every_s` seconds."""
    done = threading.Event()

    def kill() -> None:
        while not done.wait(rng.uniform(0.2 * every_s, 1.8 * every_s)):
            found = workers(psutil.Process())
            if found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    rng.choice(found).kill()
                    counted["killed"] += 1

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def whole_runs(base: Path, runs: int, rng: random.Random, every_s: float) -> Counter:
    """Tiny runs with workers that are killed, each compared with one whose workers live."""
    counted = Counter[str]()
    with contextlib.chdir(base):
        tiny.go(resume=False)
        expected = tiny.result(base / tiny.RUN)
        for number in range(runs):
            shutil.rmtree(tiny.RUN)
            with killer(rng, every_s, counted):
                while line := go_on(base):
                    if not line.startswith("refused"):
                        raise RuntimeError(line)
                    counted["resumed"] += 1
                    print(line)
            what = difference(tiny.result(base / tiny.RUN), expected)
            counted["same" if not what else "FAILED"] += 1
            print(f"run {number + 1}: {what or 'same'}; {counted['killed']} workers killed so far", flush=True)
    return counted


class Counts:
    """A subscriber that counts episodes; of rollouts, what was begun and begun again."""

    def __init__(self):
        self.counted = Counter[str]()

    def on_episode(self, episode: Any) -> None:
        self.counted["broken" if episode.ending == "broken" else "finished"] += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Counts, of each call of a worker, the starts that its pulse says have begun."""
        from agent.collect.processes.recovery import Playing

        counted, returned, died = self.counted, Playing.returned, Playing.died

        def on_return(playing: Playing, worker: int, value: None) -> None:
            counted["started"] += len(playing._played[worker].starts)
            returned(playing, worker, value)

        def on_death(playing: Playing, worker: int, death: Any) -> None:
            group, broken = playing._played[worker], counted["broken"]
            counted["started"] += death.begun
            again = sum(start[:2] in group.left for start in group.starts[: death.begun])
            died(playing, worker, death)
            counted["replayed"] += again - (counted["broken"] - broken)

        with mock.patch.multiple(Playing, returned=on_return, died=on_death):
            yield


def endurance(base: Path, minutes: float, rng: random.Random, every_s: float) -> Counter:
    """Rollouts without end; returns what was counted, with `FAILED` where something grew or was lost."""
    from agent.collect.workers import Job, Workers
    from agent.config import Limits

    counts, samples, ends = Counts(), list[tuple[float, int, int]](), time.monotonic() + 60 * minutes
    me, killed = psutil.Process(), Counter[str]()
    with contextlib.chdir(base), counts.watching(), Workers(2, Limits(broken=1.0)) as pool:
        seed = 0
        with killer(rng, every_s, killed):
            while time.monotonic() < ends:
                starts = [(seed + i, 0) for i in range(16)]
                job = Job(tiny.TASK, Path(tiny.POLICY), starts, temperature=1.0, n_envs=4)
                episodes = pool.rollout(job, [counts])
                assert [(e.seed, e.attempt) for e in episodes] == starts
                seed = (seed + 16) % 100_000
                samples.append((me.memory_info().rss / 1e6, me.num_fds(), len(me.children(recursive=True))))
                if len(samples) % 20 == 0:
                    print(f"{_told(samples[-1])}; {dict(counts.counted | killed)}", flush=True)
    return counts.counted | killed | {"FAILED": _grown(samples) + _lost(counts.counted)}


def _told(sample: Sequence[float]) -> str:
    return f"{sample[0]:.0f} MB, {sample[1]} files, {sample[2]} processes"


def _grown(samples: Sequence[Sequence[float]]) -> int:
    """1 where memory or open files grew. The first tenth, in which all is allocated, does not count."""
    some = samples[len(samples) // 10 :]
    third = max(1, len(some) // 3)
    first, last = ([max(column) for column in zip(*part, strict=True)] for part in (some[:third], some[-third:]))
    print(f"most in the first third: {_told(first)}; in the last: {_told(last)}")
    return int(last[0] > GROWTH * first[0] or last[1] > first[1] + SOME_FILES)


def _lost(counted: Counter) -> int:
    return int(counted["started"] != counted["finished"] + counted["broken"] + counted["replayed"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--every", type=float, default=3.0, help="[s] between two kills, about")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base, rng = Path(tempfile.mkdtemp()).resolve(), random.Random(options.seed)
    os.environ["PYTHONWARNINGS"] = "ignore"  # of the workers
    tiny.prepare(base, workers=2)
    declared = json.loads((base / tiny.TASK).read_text()) | {"kwargs": {"step_s": STEP_S}}
    (base / tiny.TASK).write_text(json.dumps(declared))
    counted = Counter[str]()
    try:
        with tiny.cheap():
            if options.runs:
                counted += whole_runs(base, options.runs, rng, options.every)
            if options.minutes:
                counted += endurance(base, options.minutes, rng, options.every)
    finally:
        shutil.rmtree(base)
    print(dict(counted))
    sys.exit(1 if counted["FAILED"] else 0)


if __name__ == "__main__":
    main()
