"""Every declared task in a folder through `handeye eval`, with random actions: a line for each, and what is wrong.

    python -m tests.hostile.cases FOLDER [--only PART ...] [--limit 60]      (on Linux: it forks)

A task is played, or refused in one line with exit status 2; no traceback, no hang, no rate of no episodes. Modules
beside the tasks, or one folder above, can be imported. Exits with status 1 otherwise.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

EPISODES = 3


@dataclass
class Outcome:
    """status: of the process; -1 where it was ended at the limit."""

    status: int
    out: str
    error: str
    seconds: float

    @property
    def wrong(self) -> str:
        if "Traceback" in self.out + self.error:
            return "a traceback"
        if self.status == -1:
            return "no end"
        lines = self.error.splitlines()
        if self.status == 2 and not (lines and lines[-1].startswith("handeye: error: ")):
            return "no line"
        return "" if self.status in (0, 2) else f"status {self.status}"

    @property
    def said(self) -> str:
        stream = self.error if self.status else self.out
        return ([line for line in stream.splitlines() if line.strip()] or [""])[-1].strip()


def evaluated(path: Path, limit_s: float) -> Outcome:
    """`handeye eval` of a declared task, in a fork of this process, which has imported what it needs."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("out", "error")]
        began, child = time.monotonic(), os.fork()
        if not child:
            _evaluate(path, streams)
        status = _ended(child, began + limit_s)
        return Outcome(status, *(stream.read_text() for stream in streams), time.monotonic() - began)


def _evaluate(path: Path, streams: list[Path]) -> None:
    from agent import cli

    os.setpgid(0, 0)
    for number, stream in zip((1, 2), streams, strict=True):
        os.dup2(os.open(stream, os.O_CREAT | os.O_WRONLY), number)
    sys.argv = ["handeye", "eval", str(path), "--policy", "random", "--episodes", str(EPISODES), "--n-envs", "2"]
    status = 1
    try:
        cli.main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _ended(child: int, until: float) -> int:
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def main() -> None:
    import agent.collect.play
    import agent.measure.statistics  # noqa: F401 (slow to import)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--limit", type=float, default=60.0)
    options = parser.parse_args()
    folder, bad = options.folder.resolve(), 0
    sys.path.insert(0, str(folder))
    found = sorted(p for p in folder.rglob("*.yaml") if any(part in str(p) for part in options.only))
    with tempfile.TemporaryDirectory() as place, chdir(place):
        for path in found:
            outcome = evaluated(path, options.limit)
            bad += bool(outcome.wrong)
            name = path.relative_to(folder)
            print(f"{name}: {outcome.status}, {outcome.seconds:.1f} s: {outcome.said} {outcome.wrong}", flush=True)
            if outcome.wrong:
                print(outcome.out, outcome.error)
    print(f"{len(found)} tasks, {bad} wrong")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
