"""`handeye baseline`: what it leaves behind, and its bad input in one line."""

import json
import re
from pathlib import Path

import imageio.v3 as iio
import pytest

from agent.config import Baseline
from agent.measure.baseline import baseline
from agent.record.provenance import weights_sha256
from envs.registry import TASKS


@pytest.fixture
def here(tmp_path, monkeypatch, typed):
    """The command in an empty folder, in this process: exit status, output, errors."""
    cwd = tmp_path / "here"
    cwd.mkdir()

    def run(*arguments):
        monkeypatch.chdir(cwd)
        return typed(*arguments)

    run.cwd = cwd
    return run


@pytest.mark.slow
def test_a_baseline_is_made_and_played(here, models):
    result = here("baseline", "reach", "--observe", "state", "--steps", 64, "--episodes", 3, "--out", "made")
    assert result.returncode == 0, result.stderr
    assert "of 3 episodes" in result.stdout
    assert [path.name for path in here.cwd.iterdir()] == ["made"]
    told = json.loads((here.cwd / "made" / "baseline.json").read_text())
    assert told["provenance"]["policy"] == weights_sha256(here.cwd / "made" / "policy.zip")
    assert told["config"]["algorithm"] == "ppo"
    assert told["steps"] == 64
    assert [steps for steps, _ in told["curve"]] == [64]  # the ends of rollouts
    assert told["result"]["n"] == len(told["result"]["outcomes"]) == 3
    again = here("eval", "reach", "--policy", "made/policy.zip", "--episodes", 3)
    line = next(line for line in result.stdout.splitlines() if line.startswith("reach:"))
    assert again.returncode == 0, again.stderr
    assert line in again.stdout  # the same episodes

    refused = here("baseline", "reach", "--steps", 64, "--out", "made")
    assert refused.returncode == 2
    assert "'made' exists" in refused.stderr
    assert json.loads((here.cwd / "made" / "baseline.json").read_text()) == told
    replaced = here("baseline", "reach", "--steps", 96, "--episodes", 1, "--out", "made", "--overwrite")
    assert replaced.returncode == 0, replaced.stderr
    assert json.loads((here.cwd / "made" / "baseline.json").read_text())["steps"] == 96

    for task, policy in (("reach", "made/policy.zip"), ("cartpole", models("dqn"))):
        assert here("watch", task, f"{task}.png", "--policy", policy).returncode == 0
        assert iio.imread(here.cwd / f"{task}.png").std() > 3
    assert here("rollout", "reach", "episodes", "--policy", "made/policy.zip", "--episodes", 2).returncode == 0
    assert "2 episodes certified, 0 left out" in here("replay", "episodes").stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("raech",), ("'raech'", "'reach'")),
        (("reach-heldout",), ("'reach-heldout' is held out from practice", " reach, ")),
        (("reach", "--algorithm", "dqn"), ("'dqn'", "valid: ppo, sac, trpo")),
        (("cartpole", "--algorithm", "sac"), ("'sac'", "valid: ppo, dqn, trpo")),
        (("cartpole", "--params", "gama", 0.9), ("'gama'", "'gamma'")),
        (("cartpole", "--steps", 0), ("'steps'", "0")),
        (("cartpole", "--n-envs", 0), ("'n_envs'", "0")),
        (("cartpole", "--seed", -1), ("'seed'", "-1")),
        (("cartpole", "--episodes", 2_000_000), ("'heldout'", "2000000")),
        (("cartpole", "--out", "mine", "--overwrite"), ("'mine' is no baseline's folder",)),
    ],
    ids=str,
)
def test_bad_input_is_one_line(here, arguments, parts):
    (here.cwd / "mine").mkdir()
    (here.cwd / "mine" / "notes.txt").write_text("mine")
    result = here("baseline", *arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr
    assert [str(path.relative_to(here.cwd)) for path in sorted(here.cwd.rglob("*"))] == ["mine", "mine/notes.txt"]


class Whenever:
    """In the place of ToyEnv's `raises`, which would hold every seed: each of them raises at step 2."""

    def get(self, seed):
        return 2


def test_nothing_is_left_of_a_training_that_fails(tmp_path, toy_task, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", toy_task(raises=Whenever()))
    with pytest.raises(RuntimeError, match="diverged"):
        baseline(Baseline("toy", steps=64), tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_no_episode_counts_twice(here):
    asked = Path(__file__).parents[2] / "data" / "questions" / "choices"
    (here.cwd / "asked.yaml").write_text(f"questions: {asked}\n")
    result = here("baseline", "asked.yaml", "--algorithm", "dqn", "--episodes", 21)
    assert result.returncode == 2
    assert re.search("21 episodes of heldout of 'asked.yaml': found 20 .*; valid: at most 20", result.stderr)
