"""A part that is not as it was written is named and set aside, and the rest is read."""

import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.organise import part
from agent.organise.part import DamagedError
from agent.organise.records import SCHEMA, STORED, table_of
from agent.organise.store import read


@pytest.fixture
def whole(store, episode):
    """The file of a part of three episodes, small enough that each of its bytes can be flipped."""
    store.append([episode([(1, 0), (2, 1)], success=True, seed=seed) for seed in range(3)])
    return store.parts()[0]


def test_every_flipped_byte_is_found(whole):
    content = whole.read_bytes()
    for i in range(len(content)):
        changed = bytearray(content)
        changed[i] ^= 1 << i % 8
        whole.write_bytes(changed)
        with pytest.raises(DamagedError, match="cannot be read"):
            part.check(whole)
    whole.write_bytes(content)
    part.check(whole)


@pytest.mark.parametrize("length", [0, 1, 4, 8, 100, -1, -8, -100])
def test_a_truncated_part_is_named(whole, length):
    whole.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(DamagedError, match=re.escape(str(whole))):
        read(whole)


@pytest.mark.parametrize("more", [b"\0", b"PAR1", b"\0" * 4096])
def test_bytes_too_many_are_found(whole, more):
    content = whole.read_bytes()
    for longer in (content + more, more + content, content[:200] + more + content[200:], content + content):
        whole.write_bytes(longer)
        with pytest.raises(DamagedError):
            read(whole)


def test_a_foreign_part_is_named(whole, tmp_path):
    table = pq.read_table(whole)
    pq.write_table(table, whole)
    with pytest.raises(DamagedError, match="no checksum"):
        read(whole)
    part.write(whole, table.drop_columns(["reward", "answer"]))
    with pytest.raises(DamagedError, match="no column answer, reward"):
        read(whole)
    part.write(whole, table, version=part.VERSION + 1)
    with pytest.raises(DamagedError, match="schema is 3, newer than 2"):
        read(whole)
    part.write(whole, table.set_column(1, "seed", pa.array(["0"] * len(table))))
    with pytest.raises(DamagedError, match="column seed is string"):
        read(whole)


def test_what_is_no_file_is_named(whole):
    whole.unlink()
    with pytest.raises(DamagedError, match="No such file"):
        read(whole)
    whole.mkdir()
    with pytest.raises(DamagedError, match="Is a directory"):
        read(whole)


def test_damaged_parts_are_set_aside_and_the_rest_is_read(store, episode, tmp_path):
    for seed in range(4):
        store.append([episode([(1, 0)], seed=seed)])
    first, second, third, _ = store.parts()
    first.write_bytes(first.read_bytes()[:-1])
    third.unlink()
    third.mkdir()
    with pytest.raises(DamagedError):
        list(store)
    said = []
    assert [e.seed for e in store.undamaged(said.append)] == [1, 3]
    assert [path.name in line for path, line in zip((first, third), said, strict=True)] == [True, True]
    (store.folder / "part-00004.parquet.partial").write_bytes(b"PAR1")
    lines = store.rescue(tmp_path / "run" / "quarantine")
    assert len(os.listdir(store.folder)) == 2
    assert [line.split("; set aside")[0] for line in lines] == said
    assert [e.seed for e in store] == [1, 3]
    assert sorted(os.listdir(tmp_path / "run" / "quarantine")) == [f"episodes-{path.name}" for path in (first, third)]
    assert store.rescue(tmp_path / "run" / "quarantine") == []
    for path in (first, second):  # the name of the first is taken in the quarantine
        path.write_bytes(b"")
    assert len(store.rescue(tmp_path / "run" / "quarantine")) == 2
    assert [e.seed for e in store] == [3]
    assert len(os.listdir(tmp_path / "run" / "quarantine")) == 4


FORGED = {
    "proposals": (None, "[1]", "{"),
    "action": ("{}", "true", "[[", "[" * 100_000, '["a"]'),
    "options": ("5", "[]", "{"),
    "versions": (None, "nan?", "[]"),
    "ending": ("won", ""),
    "branched_at": (-1, 3),
    "instruction": (None,),
    "reward": (None,),
    "fingerprint": (None,),
}


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, some in FORGED.items() for value in some])
def test_rows_that_no_episode_has_are_a_broken_one(store, episode, column, value):
    """Whoever knows the digests can write them: they must not end a run."""
    store.append([episode([(1, 0), (2, 0)]), episode([(1, 0)], seed=1)])
    (path,) = store.parts()
    rows = [{name: row[name] for name in SCHEMA.names} for row in pq.read_table(path).to_pylist()]
    for i in range(3) if column in ("options", "ending", "branched_at") else [2] if column == "versions" else [0, 1]:
        rows[i][column] = value
    part.write(path, table_of(rows))  # with digests and a checksum that fit
    assert [e.ending for e in store] == ["broken", "truncated"]


@pytest.mark.parametrize("column", ["task", "seed", "frames", "proprioception", "success"])
def test_a_column_without_values_is_named(whole, column):
    rows = pq.read_table(whole).to_pylist()
    rows[0][column] = [None] if column == "frames" else None
    part.write(whole, pa.Table.from_pylist(rows, STORED))
    with pytest.raises(DamagedError, match=f"its column {column} has rows without a value"):
        read(whole)


def test_a_part_with_more_rows_than_any_is_not_read(whole, monkeypatch):
    monkeypatch.setattr(part, "MOST_ROWS", 8)
    with pytest.raises(DamagedError, match="it holds 9 rows"):
        read(whole)
