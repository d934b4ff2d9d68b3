"""Only folders with our own marker are replaced: moved aside, and deleted when the new one stands."""

import json
import os

import pytest

from agent.organise import durable
from agent.record import ownership
from agent.record.ownership import MARKER, begin, check_replaceable, kind_of, leftovers, mark, remove, replace
from agent.record.rundir import RunDir
from envs.errors import UserError


@pytest.fixture
def stranger(tmp_path):
    """A folder that looks like one of ours, but for the marker."""
    folder = tmp_path / "thesis"
    folder.mkdir()
    for name in ("config.json", "config.yaml", "baseline.json", "adapter_config.json", "results.json"):
        (folder / name).write_text("{}")
    (folder / "thesis.tex").write_text("three years")
    return folder


def made(folder, text, kind="checkpoint"):
    begin(folder, kind)
    (folder / "weights").write_text(text)
    return folder


@pytest.mark.parametrize("kind", ownership.KINDS)
def test_a_strangers_folder_is_never_replaced(stranger, kind):
    before = {path.name: path.read_bytes() for path in stranger.iterdir()}
    with pytest.raises(UserError, match=r"exists; valid: .*another --out"):
        check_replaceable(stranger, False, kind)
    with pytest.raises(UserError, match=r"is no .* with our marker .*not overwritten; valid: .*delete it yourself"):
        check_replaceable(stranger, True, kind)
    with pytest.raises(UserError, match="with our marker"):
        begin(stranger, kind)
    assert {path.name: path.read_bytes() for path in stranger.iterdir()} == before


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{}", '{"kind": "checkpoint"}', '{"kind": "checkpoint", "id": "x", "schema": 1}'),
        *('{"kind": "checkpoint", "id": 7, "schema": 1}', '{"kind": ["checkpoint"], "id": "7", "schema": 1}'),
        '{"kind": "thesis", "id": "5b0c3c2e-6d0e-4c8f-9f41-0b9fcd0c3f55", "schema": 1}',
        '{"kind": "checkpoint", "id": "5b0c3c2e-6d0e-4c8f-9f41-0b9fcd0c3f55", "schema": 2}',
    ],
)
def test_a_marker_is_whole_or_none(stranger, text):
    (stranger / MARKER).write_text(text)
    assert kind_of(stranger) is None
    mark(stranger, "checkpoint")
    assert kind_of(stranger) == "checkpoint"


@pytest.mark.parametrize("text", ["", "{}\n", '{"number": 0}\n', '{"number": 0, "schema": 1, "checksum": "00"}\n'])
def test_a_journal_of_another_program_marks_nothing(stranger, text):
    (stranger / "journal.jsonl").write_text(text)
    assert kind_of(stranger) is None
    with pytest.raises(UserError, match="is no run folder"):
        RunDir(stranger, overwrite=True)
    assert (stranger / "thesis.tex").exists()


def test_one_kind_does_not_replace_another(tmp_path):
    made(tmp_path / "checkpoint", "old")
    with pytest.raises(UserError, match="is no baseline's folder"):
        check_replaceable(tmp_path / "checkpoint", True, "baseline")
    with pytest.raises(UserError, match="is no run folder"):
        check_replaceable(tmp_path / "checkpoint", True, "run")
    check_replaceable(tmp_path / "checkpoint", True, "checkpoint")


def test_what_is_replaced_is_gone_when_the_new_one_stands(tmp_path):
    made(tmp_path / "out", "old")
    replace(made(tmp_path / "out.tmp", "new"), tmp_path / "out")
    assert (tmp_path / "out" / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((tmp_path / "out" / MARKER).read_text())["kind"] == "checkpoint"


@pytest.mark.parametrize("dies_in", ["rename", "remove"])
def test_a_crash_leaves_the_old_one_or_the_new_one_and_is_named(tmp_path, monkeypatch, capsys, dies_in):
    out = made(tmp_path / "out", "old")
    fresh, rename = made(tmp_path / "out.tmp", "new"), os.rename

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if dies_in == "remove":
            patch.setattr(ownership, "remove", die)
        else:
            patch.setattr(os, "rename", lambda a, b: die() if a == fresh else rename(a, b))
        with pytest.raises(KeyboardInterrupt):
            replace(fresh, out)
    (aside,) = leftovers(out)
    assert (aside / "weights").read_text() == "old"
    assert kind_of(aside) == "checkpoint"
    assert out.exists() == (dies_in == "remove")
    check_replaceable(out, True, "checkpoint")
    assert f"{str(aside)!r} is what was to be replaced by {str(out)!r} before a crash" in capsys.readouterr().out


def test_a_crash_while_deleting_leaves_what_is_still_ours(tmp_path, monkeypatch):
    folder = made(tmp_path / "out", "old")
    (folder / "a").write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(ownership.Path, "rmdir", lambda path: pytest.fail("reached"))
        patch.setattr(ownership.shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        (folder / "z").mkdir()
        with pytest.raises(KeyboardInterrupt):
            remove(folder)
    assert kind_of(folder) == "checkpoint"
    remove(folder)
    assert not folder.exists()


def test_a_strangers_scratch_folder_is_left_alone(tmp_path):
    (tmp_path / "out.tmp").mkdir()
    (tmp_path / "out.tmp" / "mine").write_text("mine")
    with pytest.raises(UserError, match=r"out\.tmp' is no checkpoint folder with our marker"):
        check_replaceable(tmp_path / "out", False, "checkpoint")
    assert (tmp_path / "out.tmp" / "mine").exists()


def test_a_link_stays_a_link(tmp_path):
    made(tmp_path / "disk", "old")
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    check_replaceable(tmp_path / "out", True, "checkpoint")
    replace(made(tmp_path / "fresh", "new"), tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "weights").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


def test_the_working_folder_is_not_replaced(tmp_path, monkeypatch):
    made(tmp_path / "out", "old")
    monkeypatch.chdir(tmp_path / "out")
    for path in (".", "../out"):
        with pytest.raises(UserError, match="holds the working folder"):
            check_replaceable(ownership.Path(path), True, "checkpoint")


def test_a_run_is_kept_until_the_new_one_began(tmp_path):
    run = RunDir(tmp_path / "run")
    run.begin({"seed": 1}, {}, {})
    (run.path / "round_001").mkdir()
    run.close()
    second = RunDir(tmp_path / "run", overwrite=True)
    (aside,) = leftovers(tmp_path / "run")
    assert kind_of(aside) == "run"
    assert (aside / "round_001").is_dir()
    second.begin({"seed": 2}, {}, {})
    assert leftovers(tmp_path / "run") == []
    assert not (second.path / "round_001").exists()
    second.close()


def test_a_full_disk_leaves_the_old_one(tmp_path, monkeypatch):
    out, fresh = made(tmp_path / "out", "old"), made(tmp_path / "out.tmp", "new")

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "sync", full)
    with pytest.raises(UserError, match="no space is left"):
        replace(fresh, out)
    assert (out / "weights").read_text() == "old"
