"""How many environments play at once: as many as are asked for, or fewer where memory would run out.

A rollout's episodes do not depend on it.
"""

import os
from pathlib import Path

from agent.config.run import STATM
from agent.record.console import say
from envs.snapshot import Restorable
from envs.task import Task

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # version 2: the limits of a container
SPARE = 0.15  # share of all memory that is left for what grows while episodes are played
GB = 10**9
_said: set[str] = set()  # tasks of which this process has said that memory is short


def environments(task: Task, n: int) -> list[Restorable]:
    """At most `n` environments of the task, and at least one, each made as long as there is room for one more of the
    largest so far beside SPARE of the machine's memory, or of the container's.

    Where the platform does not tell, there is room for all.
    """
    envs, largest = [task.make()], 0
    while len(envs) < n and largest <= room():
        before = resident()
        envs.append(task.make())
        largest = max(largest, resident() - before)
    if len(envs) < n and task.name not in _said:
        _said.add(task.name)
        each = f", {largest / GB:.2f} GB each" if largest else ""
        say(f"{task.name}: {len(envs)} environments at once and not {n}, as memory is short{each}")
    return envs


def room() -> float:
    """[bytes] of memory that may still be used; infinite where the platform does not tell."""
    if not MEMINFO.exists():
        return float("inf")
    kilobytes = dict(line.split()[:2] for line in MEMINFO.read_text().splitlines())
    whole, free = (1024 * int(kilobytes[key]) for key in ("MemTotal:", "MemAvailable:"))
    limit = _number(CGROUP / "memory.max")
    if limit is not None and limit < whole:
        # pages of files count as used, and are given up where memory is short
        stats = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used = (_number(CGROUP / "memory.current") or 0) - int(stats.get("inactive_file", 0))
        whole, free = limit, min(free, limit - used)
    return free - SPARE * whole


def resident() -> int:
    """[bytes] of this process's resident memory; 0 where the platform does not tell."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if STATM.exists() else 0


def _number(path: Path) -> int | None:
    """What a file of a control group says; None where it is not there, or sets no limit."""
    text = path.read_text().strip() if path.exists() else "max"
    return None if text == "max" else int(text)
