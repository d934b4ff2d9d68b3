"""A sample of `make torture`: crashes at points of a tiny run, operations that fail, damaged files.

docs/reliability.md has all of it.
"""

import random

import pytest

from tests.reliability import tiny
from tests.reliability.disk import VARIANTS, Disk, put_back
from tests.reliability.every_point import Torture, faults
from tests.reliability.flips import Flips, draw, mid_stage
from tests.reliability.recording import recorded
from tests.reliability.shim import Operation

pytestmark = pytest.mark.slow
CRASHES, TO_THE_END, FAULTS, FLIPS = 7, 1, 10, 12  # of each variant, of these; in all


@pytest.fixture(scope="module")
def torture(tmp_path_factory):
    """An undisturbed tiny run, recorded before each of its operations."""
    base = tmp_path_factory.mktemp("torture")
    with tiny.cheap():
        recording, blobs = recorded(base, base / "blobs")
        with tiny.frozen():
            yield Torture(base, recording, blobs)


def test_every_operation_of_a_run_is_seen(torture):
    kinds = torture.recording.kinds()
    assert set(kinds) == {
        *("create", "write", "fsync", "rename", "mkdir", "rmdir", "unlink"),
        *("torch.save", "safetensors"),
    }
    assert sum(kinds.values()) == len(torture.recording.operations) > 1000
    assert {variant for state in torture.recording.states.values() for _, variant in state.seen} == set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_crashed_ends_as_one_that_did_not(torture, variant):
    keys = [key for key, state in torture.recording.states.items() if state.seen[0][1] == variant]
    some = random.Random(0).sample(keys, CRASHES)
    outcomes = [torture.crash(key, to_the_end=i < TO_THE_END) for i, key in enumerate(some)]
    assert [line for line in outcomes if line["outcome"] != "same"] == []


def test_an_operation_that_fails_ends_the_run_with_one_line_and_loses_nothing(torture):
    found = random.Random(1).sample(list(faults(torture)), FAULTS)
    outcomes = [torture.fail(*fault) for fault in found]
    assert [line for line in outcomes if line["outcome"] != "same"] == []
    assert sum(line["line"].startswith("refused: ") for line in outcomes) > FAULTS / 2


def test_a_damaged_file_is_named_or_harmless(torture):
    flips, rng = Flips(torture.base, torture.recording, torture.blobs), random.Random(2)
    trees = [torture.recording.finished, *(state.tree for state in mid_stage(torture.recording, torture.blobs, rng))]
    lines = [flips.damage(tree, draw(tree, flips.blobs, rng), to_the_end=False) for tree in trees[:FLIPS]]
    assert [line for line in lines if line["outcome"].startswith("FAILED")] == []
    assert any(line["outcome"].startswith("named") for line in lines)


def test_a_power_cut_takes_what_is_not_synced(torture, tmp_path):
    """The model of the disk, on one file in a folder."""
    disk, run = Disk(tmp_path, "run", torture.blobs), tmp_path / "run"

    def lost():
        return {name: torture.blobs.get(sha256) for name, sha256 in disk.states()["lost"].items() if sha256}

    def synced(path):
        disk.after(Operation(0, "fsync", path))

    run.mkdir()
    assert disk.states()["lost"] is None
    synced(".")
    (run / "file").write_bytes(b"old")
    assert lost() == {}
    synced("run")
    assert lost() == {"file": b""}  # the name, but not the content
    synced("run/file")
    (run / "new").write_bytes(b"new!")
    synced("run/new")
    (run / "new").replace(run / "file")
    assert lost() == {"file": b"old"}  # the rename is not on the disk
    synced("run")
    assert lost() == {"file": b"new!"}
    with (run / "file").open("ab") as file:
        file.write(b"more")
    assert lost() == {"file": b"new!"}
    states = disk.states()
    assert [torture.blobs.get(states[v]["file"]) for v in ("kill", "torn", "empty")] == [
        b"new!more",
        b"new!mo",
        b"new!",
    ]
    put_back(states["torn"], run, torture.blobs)
    assert (run / "file").read_bytes() == b"new!mo"
