"""No secret of the environment gets into a run's folder, and none is taken from a config."""

import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import wandb
from near import near_run, near_task

from agent.collect.workers import Workers
from agent.config import load
from agent.loop import improve
from agent.optimise.preflight import check_sft
from agent.record.rundir import RunDir
from envs.errors import UserError
from envs.registry import TASKS
from policies.base import find_policy

SECRETS = {
    "WANDB_API_KEY": "5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7",  # 40 characters, as W&B wants
    "HF_TOKEN": "hf_aSecretOfTheHub",
    "AWS_SECRET_ACCESS_KEY": "aSecretOfTheCloud",
    "HANDEYE_API_KEY": "aSecretOfTheServer",
    "HTTPS_PROXY": "http://me:aSecretOfTheProxy@127.0.0.1:9",
    "SOME_OTHER_VARIABLE": "aSecretOfSomethingElse",
}


@pytest.fixture
def secrets(monkeypatch, tmp_path):
    """The secrets are set; W&B has an empty home folder, and no server."""
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {**SECRETS, "HOME": str(home), "WANDB_BASE_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # it reads the variables once


def config(tmp_path, policy):
    smaller = {
        "select": {"critiques": 4, "min_margin": {"success": 0.1, "saved": 0.1}},
        "gate": {"episodes": 2, "p_value": 1.0},
        "tracking": {"mode": "offline"},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(near_run(policy, tmp_path / "run") | smaller))  # JSON is YAML
    return load(path)


def found(text, what):
    """`what: NAME` of each secret in a text, of the proxy's URL its password."""
    values = SECRETS | {"HTTPS_PROXY": "aSecretOfTheProxy"}
    return [f"{what}: {name}" for name, value in values.items() if value.encode() in text]


def contents(folder):
    """Name and bytes of every file, and of every file within an archive."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        yield str(path.relative_to(folder)), path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield path.name, f"{table.schema.metadata} {table.to_pylist()}".encode()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())


@pytest.mark.slow
def test_no_file_of_a_run_holds_one(secrets, nano_checkpoint, tmp_path, monkeypatch, any_action, capfd):
    monkeypatch.setitem(TASKS, "near", near_task(any_action))
    settings = config(tmp_path, str(nano_checkpoint))
    with Workers(settings.workers) as workers:
        results = improve(settings, RunDir(Path(settings.out)), workers)
    wandb.teardown()  # waits for W&B's own process
    assert results["rounds"][0]["sft_examples"] > 0
    files = list(contents(Path(settings.out)))
    names = {name.rpartition("/")[2] for name, _ in files}
    assert {"config.yaml", "results.json", "metrics.jsonl", "wandb.json", "debug-core.log"} <= names
    assert {Path(name).suffix for name in names} >= {".wandb", ".parquet", ".safetensors"}
    assert [leak for name, text in files for leak in found(text, name)] == []
    assert found("".join(capfd.readouterr()).encode(), "what was printed") == []


def test_the_search_finds_them(tmp_path):
    for name, value in SECRETS.items():
        pq.write_table(pa.table({"error": [f"at {value}"]}), tmp_path / f"{name}.parquet", compression="zstd")
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("trace.txt", 100 * value)
        (tmp_path / f"{name}.log").write_text(f"{name}={value}")
    leaks = {leak for name, text in contents(tmp_path) for leak in found(text, name)}
    assert len(leaks) == 3 * len(SECRETS)


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        ({"server": "http://host/v1", "api_key": "aSecret"}, "unknown config key 'api_key'"),
        ({"server": "http://me:aSecret@host/v1"}, "credentials in the URL of 'host'"),
        ({"server": "http://host/v1?api_key=aSecret"}, "server = 'http://host/v1' and more"),
        ("http://me:aSecret@host/v1", "credentials in the URL of 'host'"),
        ("http://me:aSecret#1@host/v1", "'http://...@host/v1' is no URL"),
        ("http://host/v1?api_key=aSecret", "unknown config key 'api_key'"),
    ],
)
def test_a_config_with_a_key_is_refused_without_repeating_it(tmp_path, policy, key):
    with pytest.raises(UserError, match=re.escape(key)) as error:
        find_policy(config(tmp_path, policy).policy)
    assert "aSecret" not in str(error.value)


def test_a_hub_token_in_a_trainers_settings_is_refused_without_repeating_it():
    policy = SimpleNamespace(model=None, processor=None)  # never used: names come first
    with pytest.raises(UserError, match=r"sft\.hub_token.*secret; valid: .*HF_TOKEN") as error:
        check_sft("sft", {"hub_token": "aSecret"}, policy, [])
    assert "aSecret" not in str(error.value)
