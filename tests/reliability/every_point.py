"""Every point at which a run can be interrupted: a tiny run, with each of its operations on files in turn.

    python -m tests.reliability.every_point [--lanes 2] [--out runs/torture/every_point.jsonl]
    python -m tests.reliability.every_point --only faults --sample 200      # what there is time for

One undisturbed run is recorded. Before each of its operations, the states are kept that a crash there would leave
(`disk.VARIANTS`); `--resume` goes on from each distinct one, from the latest to the earliest. Every tenth goes on to
the end of the run; the others until they have recorded a stage and their folder, with all that is in it, is that of
the undisturbed run at some operation: what follows from there has been seen before.

Then each operation fails instead, once with an I/O error, and once with a full disk that stays full: the run
must end with one line, and go on from what it left.

Exits with status 1 where a run does not end as the undisturbed one.
"""

import argparse
import contextlib
import errno
import gc
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.reliability import tiny
from tests.reliability.disk import Blobs, Disk, put_back
from tests.reliability.recording import Recording, State, difference, ending, go_on, recorded, until_known
from tests.reliability.shim import Fault, Operation, Shim

CODES = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
Line = dict[str, Any]


class Torture:
    """Crashes and faults of one recorded run, in a working folder of its own."""

    def __init__(self, base: Path, recording: Recording, blobs: Blobs):
        """base: a folder that `tiny.prepare` has filled."""
        self.base, self.recording, self.blobs = base, recording, blobs
        self.good = set(recording.kills())  # states from which the run is known to end as the undisturbed one

    def crash(self, key: str, to_the_end: bool) -> Line:
        """Go on from a state."""
        state = self.recording.states[key]
        put_back(state.tree, self.base / tiny.RUN, self.blobs)
        what = self._ending(to_the_end)
        variants = dict(Counter(variant for _, variant in state.seen))
        told = {"fault": "crash", "at": state.name, "variants": variants, "key": key, "whole": to_the_end}
        return told | {"outcome": what or "same"}

    def _ending(self, to_the_end: bool = False) -> str:
        shim = None if to_the_end else until_known(self.base, self.blobs, self.good)
        return ending(self.base, self.recording.expected, shim)

    def boundaries(self) -> list[State]:
        """The state in which each stage begins: of a process that is killed just after the record of the one before."""
        first = dict[int, State]()
        for state in self.recording.states.values():
            if any(variant == "kill" for _, variant in state.seen) and state.stages:
                first.setdefault(state.stages, state)
        return list(first.values())

    def operations(self, state: State) -> list[Operation]:
        """Those of a resumed run from a state until the stage is recorded."""
        seen, journal = list[Operation](), f"{tiny.RUN}/journal.jsonl"

        class RecordedError(BaseException):
            pass

        def before(operation: Operation) -> None:
            seen.append(operation)
            if seen[-2:-1] and seen[-2].kind == "fsync" and seen[-2].path == journal:
                raise RecordedError

        put_back(state.tree, self.base / tiny.RUN, self.blobs)
        with contextlib.suppress(RecordedError):
            go_on(self.base, Shim(self.base / tiny.RUN, before))
        return seen

    def fail(self, state: State, code: str, k: int) -> Line:
        """Go on from a state with a fault at the k-th operation, then without."""
        put_back(state.tree, self.base / tiny.RUN, self.blobs)
        fault = Fault(CODES[code], k)
        line = go_on(self.base, Shim(self.base / tiny.RUN, fault))
        at = f"{fault.hit.kind} {fault.hit.path}" if fault.hit else "never"
        told = {"fault": code, "stage": state.stages, "k": k, "at": at, "line": line}
        if not line:  # the operation was not needed
            found = {n: s for n, s in tiny.result(self.base / tiny.RUN).items() if not n.startswith(".partial/")}
            what = difference(found, self.recording.expected)  # what could not be deleted is deleted at the next resume
            return told | {"outcome": what or "same", "line": "the run went on"}
        wrong = "" if line.startswith("refused") else f"no UserError: {line.strip().splitlines()[-1]}"
        return told | {"outcome": "; ".join(filter(None, [wrong, self._then()])) or "same"}

    def _then(self) -> str:
        """Go on after a fault; known states are not repeated."""
        tree = Disk(self.base, tiny.RUN, self.blobs).tree()
        key = self.blobs.key(tree) if tree else ""
        if key in self.good:
            return ""
        if not (what := self._ending()):
            self.good.add(key)
        return what


def faults(torture: Torture, prelude: int = 4) -> Iterator[tuple[State, str, int]]:
    """Each operation of each stage with each code. What a resumed run does before its stage is the same for all: its
    faults are repeated in every `prelude`-th stage only."""
    for i, state in enumerate(torture.boundaries()):
        operations = torture.operations(state)
        partial = f"{tiny.RUN}/.partial"
        begins = next((o.number for o in operations if o.path.startswith(partial) and o.kind == "mkdir"), 0)
        for operation in operations[:-1]:
            if operation.number >= begins or i % prelude == 0:
                for code in CODES:
                    if code == "EIO" or operation.kind in ("create", "write", "mkdir", "rename", "fsync"):
                        yield state, code, operation.number


def lane(number: int, of: int, folder: Path, recording: Recording, options: argparse.Namespace, put: Callable) -> None:
    """One process's share."""
    base = folder / f"lane{number}"
    tiny.prepare(base)
    torture = Torture(base, recording, Blobs(folder / "blobs"))
    if options.only != "faults":
        for i, key in _sampled(reversed(list(enumerate(recording.states))), options.sample):
            if i % of == number:
                put(torture.crash(key, to_the_end=i // of % 10 == 0))
    if options.only != "crashes":
        for i, fault in _sampled(enumerate(faults(torture)), options.sample):
            if i % of == number:
                put(torture.fail(*fault))


def _sampled(items: Iterable[Any], n: int | None) -> list[Any]:
    """All of them, or n, drawn the same way each time."""
    every = list(items)
    return random.Random(0).sample(every, min(n, len(every))) if n else every


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("crashes", "faults"))
    parser.add_argument("--sample", type=int, help="so many crashes, and so many faults; default: all")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/torture/every_point.jsonl"))
    parser.add_argument("--folder", type=Path, help="a fast disk, such as one in memory; default: a temporary folder")
    options = parser.parse_args()
    out = options.out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=options.folder)).resolve()
    try:
        with tiny.cheap():
            sys.exit(_run(folder, out, options))
    finally:
        shutil.rmtree(folder)


def _run(folder: Path, out: Path, options: argparse.Namespace) -> int:
    lanes = options.lanes
    recording, _ = recorded(folder / "first", folder / "blobs")
    gc.freeze()  # in the lanes, too
    print(f"{len(recording.operations)} operations {recording.kinds()}, {len(recording.states)} distinct states")
    context = multiprocessing.get_context("fork")
    queue, started = context.SimpleQueue(), time.monotonic()
    processes = [
        context.Process(target=_lane, args=(i, lanes, folder, recording, options, queue)) for i in range(lanes)
    ]
    for process in processes:
        process.start()
    counted, left, cpu_s = Counter[str](), lanes, recording.cpu_s
    with out.open("w") as file:
        while left:
            line = queue.get()
            if "ended" in line:
                left, cpu_s = left - 1, cpu_s + line["cpu_s"]
                continue
            file.write(json.dumps(line) + "\n")
            file.flush()
            counted[f"{line['fault']}: {'same' if line['outcome'] == 'same' else 'FAILED'}"] += 1
            if line["outcome"] != "same":
                print(f"FAILED {line['fault']} {line['at']}: {line['outcome']}", flush=True)
            if sum(counted.values()) % 50 == 0:
                print(f"{time.monotonic() - started:.0f} s: {dict(counted)}", flush=True)
    print(f"{dict(counted)}; {cpu_s:.0f} CPU-s, {time.monotonic() - started:.0f} s")
    return 1 if any("FAILED" in key for key in counted) else 0


def _lane(number: int, of: int, folder: Path, recording: Recording, options: argparse.Namespace, queue: Any) -> None:
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        lane(number, of, folder, recording, options, queue.put)
    finally:
        queue.put({"ended": number, "cpu_s": time.process_time()})


if __name__ == "__main__":
    main()
