"""A policy is found by its name from any folder; an unknown name raises an error with the valid ones."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from envs.errors import UserError
from policies.base import find_policy

ROOT = Path(__file__).parents[2]


def test_the_seed_policy_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_policy("seed") == ROOT / "policies" / "seed"
    monkeypatch.chdir(ROOT)
    assert find_policy("policies/seed").samefile(find_policy("seed"))


def test_a_folder_of_the_same_name_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("seed").mkdir()
    with pytest.raises(UserError, match=r"is a folder here too; valid: '\./seed', or '.*policies/seed'"):
        find_policy("seed")
    assert find_policy("./seed").samefile(tmp_path / "seed")
    monkeypatch.chdir(ROOT / "policies")
    assert find_policy("seed").samefile("seed")


def test_a_path_stays_as_it_is(tmp_path):
    assert find_policy(str(tmp_path)) == tmp_path
    assert find_policy("model.zip") == Path("model.zip")


def test_an_unknown_name_is_answered_with_the_valid_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint in 'sead'; valid: zero, a \.zip, seed, or a folder with"):
        find_policy("sead", ("zero", "a .zip"))


def test_what_ships_is_in_the_package():
    """Every file of the seed policy, by the pattern that setuptools is given."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["policies"]
    packed = {path for pattern in patterns for path in (ROOT / "policies").glob(pattern)}
    assert packed >= set(find_policy("seed").iterdir())


def test_finding_a_policy_loads_no_torch():
    code = "import sys; from policies.base import find_policy; find_policy('seed'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_the_command_finds_the_seed_policy_from_any_folder(tmp_path):
    command = [sys.executable, "-m", "agent.cli", "eval", "reach", "--policy", "seed", "--episodes", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "of 2 episodes" in done.stdout
