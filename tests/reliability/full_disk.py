"""A disk that is really full: a tiny run in a file system in memory that is too small for it, then made larger.

    python -m tests.reliability.full_disk --sizes 24        (root, on Linux: it mounts a tmpfs)

This reaches what `every_point` only imitates: the writers in C++ and Rust. Each size ends the run somewhere else; there
it must end with one line, and go on to the same files once there is room. Exits with status 1 otherwise.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from tests.reliability import tiny
from tests.reliability.recording import ending, go_on

ROOM_KB = 256 * 1024


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[None]:
    """In the block, the folder is a file system of this size."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def filled(base: Path, size_kb: int, expected: dict[str, str]) -> tuple[str, str]:
    """Run on a disk of this size, then with room; returns how the first run ended, and what was wrong."""
    run = base / tiny.RUN
    with small_disk(run, size_kb):
        line = go_on(base)
        subprocess.run(["mount", "-o", f"remount,size={ROOM_KB}k", run], check=True)
        what = ending(base, expected)
    if line and not line.startswith("refused"):
        what = f"no UserError: {line.strip().splitlines()[-1]}; {what}"
    return line, what


def _needed_kb(base: Path) -> tuple[int, dict[str, str]]:
    """The most that a run has on the disk at a time, about, and what it ends with."""
    with small_disk(base / tiny.RUN, ROOM_KB):
        tiny.go(resume=False)
        files = [path.stat().st_size for path in (base / tiny.RUN).rglob("*") if path.is_file()]
        return sum(-(-size // 4096) * 4 for size in files), tiny.result(base / tiny.RUN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, default=24)
    options = parser.parse_args()
    counted = Counter[str]()
    with tempfile.TemporaryDirectory() as folder, tiny.cheap():
        base = Path(folder).resolve()
        tiny.prepare(base)
        with chdir(base):
            needed_kb, expected = _needed_kb(base)
            with tiny.frozen():
                for i in range(options.sizes):
                    size_kb = max(4, needed_kb * i // options.sizes)
                    line, what = filled(base, size_kb, expected)
                    counted["FAILED" if what else "full, then the same" if line else "enough room"] += 1
                    told = line.splitlines()[-1] if line else "room"
                    print(f"{size_kb} of {needed_kb} KB: {told} | {what or 'same'}")
    print(dict(counted))
    sys.exit(1 if counted["FAILED"] else 0)


if __name__ == "__main__":
    main()
