"""Files of other programs in our folders are named and left alone."""

import shutil
from pathlib import Path

import pytest

from agent.organise.foreign import could_be_read, is_left, is_part
from agent.organise.store import EpisodeStore

LEFT = [
    *("part-00000 (1).parquet", ".DS_Store", "._part-00000.parquet", "Thumbs.db", "desktop.ini", "part-00000.parquet~"),
    *("part-00000 (conflicted copy 2026-11-27).parquet", "part-00000.sync-conflict-20261127-101112-ABCDEFG.parquet"),
    *(".nfs000000000012", ".part-00000.parquet.swp", "~$notes.docx", ".~lock.x#", "model (2).safetensors"),
]
BESIDE = ["part-0.parquet", "part-one.parquet", "copy of part-00000.parquet", "part-00000.parquet.parquet"]


@pytest.mark.parametrize("name", LEFT)
def test_names_of_other_programs(name):
    assert is_left(Path(name))
    assert not is_part(Path(name))
    assert not could_be_read(Path(name))


@pytest.mark.parametrize(
    "name", ["part-00000.parquet", "part-123456.parquet", "model.safetensors", "adapter_config.json"]
)
def test_names_of_ours(name):
    assert not is_left(Path(name))
    assert could_be_read(Path(name))


@pytest.mark.parametrize("name", [*LEFT, *BESIDE])
def test_a_store_names_them_and_leaves_them_alone(store, episode, tmp_path, name):
    store.append([episode([(1, 0)], seed=seed) for seed in range(2)])
    (part,) = store.parts()
    added = store.folder / name
    shutil.copy(part, added)
    (store.folder / f"{name}.partial").write_bytes(b"theirs")
    assert [e.seed for e in store] == [0, 1]
    assert [e.seed for e in store.undamaged(pytest.fail)] == [0, 1]
    said = [f"{str(added)!r} is none of ours: left alone"] if is_left(added) or name.endswith(".parquet") else []
    assert said[:1] == [line for line in store.rescue(tmp_path / "quarantine") if line in said]
    store.append([episode([(1, 0)], seed=2)])
    assert [path.name for path in store.parts()] == ["part-00000.parquet", "part-00001.parquet"]
    assert added.read_bytes() == part.read_bytes()
    assert (store.folder / f"{name}.partial").exists()
    assert not (tmp_path / "quarantine").exists()
    assert [e.seed for e in EpisodeStore(store.folder)] == [0, 1, 2]
