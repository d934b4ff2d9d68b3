"""Damaged files: one bit flipped, or an end cut off, in every kind of file of a run; then the run is resumed.

    python -m tests.reliability.flips --flips 1000 --seed 0 [--out runs/torture/flips.jsonl]

Half of them hit a finished run, half a run that was killed in the middle of a stage. The damage must be found and named
(a line, or a UserError, with the file's name), or be harmless: the run ends as the undisturbed one without a word. Of
interrupted runs every tenth goes on to its end, the others as in `every_point`.
Kinds of files are hit equally often, and so are the thirds of a file. Exits with status 1 for damage that is neither.
"""

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from agent.record.run.journal import FILE as JOURNAL
from tests.reliability import tiny
from tests.reliability.disk import FOLDER, Blobs, Tree, put_back
from tests.reliability.recording import Reached, Recording, State, difference, go_on, recorded, until_known

TIMES_ONLY = ("metrics.jsonl", "journal.jsonl")  # not in the promise; see docs/reliability.md
MID_STAGE = 12  # states of interrupted runs that are damaged
CUT = 0.2  # share of damages that cut off an end


@dataclass(frozen=True)
class Damage:
    """To a file at an offset [bytes]. bit: flipped; None: the file ends there."""

    path: str
    offset: int
    bit: int | None

    def do(self, content: bytes) -> bytes:
        if self.bit is None:
            return content[: self.offset]
        changed = bytearray(content)
        changed[self.offset] ^= 1 << self.bit
        return bytes(changed)


def kind(path: str) -> str:
    """The kind of a file, by its path in the run's folder: numbers and names of stages and rollouts do not count."""
    place = ".partial " if path.startswith(".partial") else ""
    if "/rollouts/" in path:
        return f"{place}rollouts {Path(path).name if 'spent' in path else Path(path).suffix}"
    if "/training/" in path:
        return f"{place}training {re.sub(r'[0-9]+', 'N', Path(path).parent.name)} {Path(path).name}"
    return place + re.sub(r"[0-9]{3,}", "N", path.split("/outputs/")[-1])


def draw(tree: Tree, blobs: Blobs, rng: random.Random) -> Damage:
    """A kind, a file of it, a third of it, a place in that. Of two damages of a run with a stage under way, one hits
    that stage's files."""
    kinds: dict[str, list[str]] = {}
    is_partial = any(name and path.startswith(".partial/") for path, name in tree.items()) and rng.random() < 0.5
    for path, name in sorted(tree.items()):
        if name != FOLDER and path.startswith(".partial/" * is_partial) and blobs.get(name):
            kinds.setdefault(kind(path), []).append(path)
    path = rng.choice(kinds[rng.choice(sorted(kinds))])
    size, third = len(blobs.get(tree[path])), rng.randrange(3)
    offset = min(size - 1, int(size * (third + rng.random()) / 3))
    return Damage(path, offset, None if rng.random() < CUT else rng.randrange(8))


@dataclass
class Flips:
    """Damages of the states of a recorded run."""

    base: Path
    recording: Recording
    blobs: Blobs

    def damage(self, tree: Tree, damage: Damage, to_the_end: bool = True) -> dict[str, Any]:
        """Damage a file of a state, and go on from there, to the end or to a state that the undisturbed run was in."""
        run = self.base / tiny.RUN
        put_back(tree, run, self.blobs)
        path = run / damage.path
        path.write_bytes(damage.do(path.read_bytes()))
        shim = None if to_the_end else until_known(self.base, self.blobs, self.recording.kills())
        with collected() as lines:
            try:
                refused = go_on(self.base, shim)
                what = refused or difference(self._promised(tiny.result(run)), self._promised(self.recording.expected))
            except Reached:
                refused = what = ""
        lines += [refused] if refused.startswith("refused") else []
        return vars(damage) | {"kind": kind(damage.path), "lines": lines, "outcome": self._verdict(damage, lines, what)}

    def _verdict(self, damage: Damage, lines: list[str], what: str) -> str:
        named = any(part in line for line in lines for part in _names(damage.path))
        if what.startswith("refused"):
            return "refused by name" if named else f"FAILED, refused without its name: {what}"
        if what:
            return f"FAILED: {what.strip().splitlines()[-1]}"
        return "named, then the same" if named else "harmless"

    def _promised(self, result: Mapping[str, str]) -> dict[str, str]:
        return {name: sha256 for name, sha256 in result.items() if name not in TIMES_ONLY}


def _names(path: str) -> list[str]:
    """What a line may name of a damaged file: itself, or the checkpoint that it is a part of."""
    checkpoint = re.search(r".*/whole-[0-9]+", path)
    return [f"{tiny.RUN}/{path}", *([f"{tiny.RUN}/{checkpoint[0]}"] if checkpoint else [])]


@contextmanager
def collected() -> Iterator[list[str]]:
    """The lines that are printed in the block."""
    from agent.record.console import console

    lines = list[str]()
    with mock.patch.object(
        console, "print", lambda *what, **how: lines.extend(each for each in what if isinstance(each, str))
    ):
        yield lines


def mid_stage(recording: Recording, blobs: Blobs, rng: random.Random) -> list[State]:
    """Interrupted states of stages of all names, with files of a stage that is not recorded."""
    by_stage: dict[str, list[State]] = {}
    for state in recording.states.values():
        files = [path for path, name in (state.tree or {}).items() if name and path.startswith(".partial/")]
        if len(files) > 1 and any(variant == "kill" for _, variant in state.seen):
            number, stage = files[0].split("/")[1].split(" ", 1)
            recorded = f'"round": {int(number)}, "stage": "{stage}"'.encode() in blobs.get(state.tree[JOURNAL])
            training = " training" if any("/whole-" in file for file in files) else ""
            if not recorded:
                by_stage.setdefault(stage + training, []).append(state)
    stages = sorted(by_stage)
    return [rng.choice(by_stage[stages[i % len(stages)]]) for i in range(MID_STAGE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/torture/flips.jsonl"))
    parser.add_argument("--folder", type=Path, help="a fast disk, such as one in memory; default: a temporary folder")
    options = parser.parse_args()
    out, rng = options.out.resolve(), random.Random(options.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    base = Path(tempfile.mkdtemp(dir=options.folder)).resolve()
    try:
        with tiny.cheap():
            counted = _run(base, options.flips, out, rng)
    finally:
        shutil.rmtree(base)
    print(f"{dict(counted)}, {time.process_time():.0f} CPU-s")
    sys.exit(1 if any("FAILED" in outcome for _, outcome in counted) else 0)


def _run(base: Path, n: int, out: Path, rng: random.Random) -> Counter:
    """Damage n files; a line of JSON for each. Returns (which run, outcome) -> how often."""
    flips, counted = Flips(base, *recorded(base, base / "blobs")), Counter()
    states = mid_stage(flips.recording, flips.blobs, rng)
    with out.open("w") as file, tiny.frozen():
        for i in range(n):
            tree = flips.recording.finished if i % 2 else rng.choice(states).tree
            line = flips.damage(tree, draw(tree, flips.blobs, rng), to_the_end=bool(i % 2) or i % 20 == 0)
            line |= {"run": "finished" if i % 2 else "interrupted"}
            file.write(json.dumps(line) + "\n")
            file.flush()
            counted[line["run"], line["outcome"].split(":")[0].split(",")[0]] += 1
            if line["outcome"].startswith("FAILED"):
                print(json.dumps(line), flush=True)
            if (i + 1) % 50 == 0:
                print(f"{i + 1}: {dict(counted)}, {time.process_time():.0f} CPU-s", flush=True)
    return counted


if __name__ == "__main__":
    main()
