"""Files are whole or absent, and a disk that is full or fails is named."""

import errno
import os

import pytest

from agent.organise import durable
from envs.errors import UserError


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "file.json"

    durable.write(path, "long, and older")
    durable.write(path, b"new")

    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize(("number", "message"), [(errno.ENOSPC, "needs 0.0 MB"), (errno.EIO, "Input/output error")])
def test_a_disk_that_fails_is_named_and_the_file_is_as_before(tmp_path, monkeypatch, number, message):
    path = tmp_path / "file.json"
    durable.write(path, "before")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=message) as caught:
        durable.write(path, "after")

    assert str(path) in str(caught.value)
    assert path.read_text() == "before"


def test_a_published_folder_replaces_the_one_in_its_place(tmp_path):
    new, old = tmp_path / "new", tmp_path / "deep" / "old"
    for folder, name in ((new, "a"), (old, "b")):
        folder.mkdir(parents=True)
        (folder / name).write_text(name)

    durable.publish(new, old)

    assert os.listdir(old) == ["a"]
    assert not new.exists()


def test_a_published_file_replaces_the_one_in_its_place(tmp_path):
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")

    durable.publish(tmp_path / "new", tmp_path / "old")

    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "new"


def test_a_folder_is_made_with_those_above_it_and_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync", synced.append)

    durable.make(tmp_path / "a" / "b")
    durable.make(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()
    assert sorted(synced) == [tmp_path, tmp_path / "a"]
