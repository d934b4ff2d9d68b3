"""Provenance: the commit, hashes of weights, and the content of declared tasks."""

import hashlib
import json
import subprocess

import pytest
import yaml

from agent.record import provenance
from agent.record.provenance import FILE, config_sha256, declared_tasks, sign, source, weights_sha256


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository with one commit, which provenance takes for the project's own."""
    source.cache_clear()
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "code.py").write_text("1")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    yield tmp_path
    source.cache_clear()


def test_a_checkout_has_a_commit_and_may_be_clean(checkout):
    clean = source()
    assert len(clean["commit"]) == 40
    assert clean["clean"] is True
    (checkout / "new.py").write_text("2")
    assert source() == clean  # what this process runs was read before
    source.cache_clear()
    assert source() == clean | {"clean": False}


def test_a_checkout_of_something_else_is_not_ours(checkout, monkeypatch):
    (checkout / "site-packages").mkdir()
    monkeypatch.setattr(provenance, "ROOT", checkout / "site-packages")
    assert (source()["commit"], source()["clean"]) == (None, None)


def test_a_machine_without_git_is_no_error(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert source() == {"version": source()["version"], "commit": None, "clean": None}


def test_the_hash_of_weights_is_that_of_all_their_files(tmp_path):
    assert weights_sha256(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    alone = hashlib.sha256(b"weights").hexdigest()
    assert weights_sha256(tmp_path) == weights_sha256(tmp_path / "model.safetensors") == alone
    (tmp_path / "model-2.safetensors").write_bytes(b"more")
    both = weights_sha256(tmp_path)
    printed = subprocess.run("sha256sum *.safetensors", shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert both == hashlib.sha256(printed.stdout).hexdigest()
    (tmp_path / "model-2.safetensors").write_bytes(b"else")
    assert weights_sha256(tmp_path) not in (alone, both)


def test_a_declared_task_is_kept_as_it_was_not_where_it_was(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text("id: CartPole-v1\nsuccess: {of: return, at_least: 195}\n")
    ((name, told),) = declared_tasks(["reach", str(path), str(path)]).items()
    assert name == str(path)
    assert told["content"] == {"id": "CartPole-v1", "success": {"of": "return", "at_least": 195}}
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_questions_are_hashed_file_by_file(tmp_path):
    folder, path = tmp_path / "set", tmp_path / "task.yaml"
    (folder / "images").mkdir(parents=True)
    (folder / "problems.json").write_text("{}")
    (folder / "images" / "1.png").write_bytes(b"red")
    path.write_text(yaml.safe_dump({"questions": str(folder)}))
    before = declared_tasks([str(path)])[str(path)]
    (folder / "images" / "1.png").write_bytes(b"blue")
    after = declared_tasks([str(path)])[str(path)]
    assert before["sha256"] == after["sha256"]
    assert before["questions_sha256"] != after["questions_sha256"]


def test_a_checkpoint_names_the_weights_that_it_was_trained_from(tmp_path):
    parent, checkpoint = tmp_path / "parent", tmp_path / "made"
    for folder in (parent, checkpoint):
        folder.mkdir()
        (folder / "model.safetensors").write_text(folder.name)
    sign(checkpoint, parent, round=2, stage="sft", config_sha256=config_sha256({"b": 1, "a": 2}))
    told = json.loads((checkpoint / FILE).read_text())
    assert told["weights"] == weights_sha256(checkpoint)
    assert told["parent"] == {"policy": str(parent), "weights": weights_sha256(parent)}
    assert (told["round"], told["stage"], told["source"]) == (2, "sft", source())
    assert told["config_sha256"] == config_sha256({"a": 2, "b": 1}) != config_sha256({"a": 2, "b": 2})
