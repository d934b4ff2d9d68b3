"""One undisturbed run with every state that a crash would leave, and what becomes of a run that goes on from one."""

import contextlib
import json
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from agent.record.run.journal import FILE as JOURNAL
from envs.errors import UserError
from tests.reliability import tiny
from tests.reliability.disk import Blobs, Disk, Tree
from tests.reliability.shim import Operation, Shim


@dataclass
class State:
    """A distinct state. seen: (operation, variant) of each crash that leaves it. stages: that are in its journal."""

    tree: Tree | None
    stages: int
    seen: list[tuple[Operation, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        operation, variant = self.seen[0]
        return f"{variant} before operation {operation.number}, {operation.kind} {operation.path}"


@dataclass
class Recording:
    """operations: of the undisturbed run. states: hash -> state. finished: what it left. expected: `tiny.result`."""

    operations: list[Operation]
    states: dict[str, State]
    finished: Tree
    expected: dict[str, str]
    cpu_s: float

    def kinds(self) -> dict[str, int]:
        return dict(Counter(operation.kind for operation in self.operations))

    def kills(self) -> list[str]:
        """Hashes of the states of the run's folder between its operations."""
        return [key for key, state in self.states.items() if any(variant == "kill" for _, variant in state.seen)]


def record(base: Path, blobs: Blobs, resume: bool = False) -> Recording:
    """Run in the working folder `base`. resume: go on with the run that is there."""
    disk, operations, states = Disk(base, tiny.RUN, blobs), [], dict[str, State]()

    def before(operation: Operation) -> None:
        operations.append(operation)
        for variant, tree in disk.states().items():
            key = blobs.key(tree) if tree else ""
            states.setdefault(key, State(tree, _stages(tree, blobs))).seen.append((operation, variant))

    started = time.process_time()
    with contextlib.chdir(base):
        if not resume:
            shutil.rmtree(tiny.RUN, ignore_errors=True)
        with Shim(base / tiny.RUN, before, disk.after).watching():
            tiny.go(resume)
    return Recording(operations, states, disk.tree(), tiny.result(base / tiny.RUN), time.process_time() - started)


def recorded(base: Path, blobs: Path) -> tuple[Recording, Blobs]:
    """An undisturbed tiny run in a folder that is made for it; blobs: where contents are kept."""
    tiny.prepare(base)
    kept = Blobs(blobs)
    with contextlib.chdir(base):
        tiny.go(resume=False)  # imports, and what is probed once
    with tiny.frozen():
        return record(base, kept), kept


def _stages(tree: Tree | None, blobs: Blobs) -> int:
    """Whole lines of the journal, its first one included."""
    return blobs.get(tree[JOURNAL]).count(b"\n") if tree and JOURNAL in tree else 0


class Reached(BaseException):
    """The run's folder is as that of the undisturbed run was at some operation."""


def until_known(base: Path, blobs: Blobs, known: Container[str]) -> Shim:
    """Ends a run that goes on, once it has recorded a stage and its folder is one of the known states."""
    disk, recorded = Disk(base, tiny.RUN, blobs), list[int]()

    def before(operation: Operation) -> None:
        if recorded and operation.number > recorded[0]:
            tree = {path: name for path, name in disk.tree().items() if not path.startswith("quarantine")}
            if blobs.key(tree) in known:
                raise Reached

    def after(operation: Operation) -> None:
        disk.after(operation)
        if operation.kind == "write" and operation.path == f"{tiny.RUN}/{JOURNAL}":
            recorded.append(operation.number)

    return Shim(base / tiny.RUN, before, after)


def go_on(base: Path, shim: Shim | None = None) -> str:
    """Go on with the run in the working folder, as a user would: with --resume where there is a journal.

    Returns "" where it ends, `refused: LINE` for a UserError, and the traceback of anything else.
    """
    with contextlib.chdir(base), shim.watching() if shim else contextlib.nullcontext():
        try:
            tiny.go(resume=(base / tiny.RUN / JOURNAL).is_file())
        except UserError as error:
            return f"refused: {error}"
        except Exception:  # what the product must not raise
            return traceback.format_exc()
    return ""


def difference(found: dict[str, str], expected: dict[str, str]) -> str:
    """Names of files that differ, are missing or are left over; empty for the same run."""
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    return ", ".join(
        f"{name} {'is missing' if name not in found else 'is left over' if name not in expected else 'differs'}"
        for name in names
    )


def ending(base: Path, expected: dict[str, str], shim: Shim | None = None) -> str:
    """Go on with what is there; "" where the run ends as the undisturbed one, else what happened."""
    try:
        return go_on(base, shim) or difference(tiny.result(base / tiny.RUN), expected)
    except Reached:
        return ""


def save(recording: Recording, path: Path) -> None:
    """For another process, and to look at a state later."""
    states = {
        key: {"tree": s.tree, "stages": s.stages, "seen": [[o.number, o.kind, o.path, v] for o, v in s.seen]}
        for key, s in recording.states.items()
    }
    path.write_text(json.dumps({"states": states, "expected": recording.expected}))
