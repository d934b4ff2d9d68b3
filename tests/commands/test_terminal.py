"""What a command prints: one JSON document alone, results without notes, what comes next."""

import json
import shlex

import pytest

from agent.commands.arguments import split_overrides, with_json_file
from agent.commands.diagnosis import disk, extras, gl_fix, shared_memory, wandb_login
from agent.record import console
from agent.record.run.journal import Done
from agent.record.run.status import took
from agent.record.tables import next_commands
from envs.errors import NEAREST, nearest, unknown


def test_json_is_alone_on_the_standard_output(typed):
    done = typed("eval", "reach", "--policy", "expert", "--episodes", "2", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (document["task"], document["result"]["n"]) == ("reach", 2)
    assert "reach: 100 %" in done.stderr
    again = typed("tasks")  # the standard output is itself again
    assert "reach" in again.stdout
    assert again.stderr == ""


def test_json_goes_into_a_file_too(typed, tmp_path):
    done = typed("tasks", "--json", tmp_path / "tasks.json")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "tasks.json").read_text())
    assert {"task": "reach", "suite": "tabletop", "split": "practice", "environment": "HandEye/Reach-v0"} in rows
    assert "reach" in done.stdout


def test_a_word_after_json_is_a_file_by_its_ending():
    assert with_json_file(["reach", "--json"]) == ["reach", "--json=-"]
    assert with_json_file(["--json", "reach", "--seed", "1"]) == ["--json=-", "reach", "--seed", "1"]
    assert with_json_file(["--json", "a.json", "reach"]) == ["--json=a.json", "reach"]
    own, overrides = split_overrides(["a.yaml", "--json=-", "--rounds", "1"], ())
    assert (own, overrides) == (["a.yaml", "--json=-"], ["--rounds", "1"])


def test_quiet_leaves_the_result(typed, monkeypatch):
    monkeypatch.setattr(console.console, "quiet", False)
    done = typed("eval", "reach", "--quiet", "--policy", "expert", "--episodes", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "reach: 100 % [34, 100] of 2 episodes\n"


def test_of_many_names_the_nearest_are_said():
    names = [f"task-{i:02d}" for i in range(90)]
    said = nearest("task-42", names)
    assert said.startswith("valid: task-42, ")
    assert said.endswith(", ... (90 in all)")
    assert said.count("task-") == NEAREST
    assert nearest("x", names[:3]) == "valid: task-00, task-01, task-02"
    assert "did you mean 'reach'?" in str(unknown("task", "raech", ["reach", "push"]))


def test_what_comes_after_a_run_is_quoted(tmp_path):
    run = tmp_path / "my run"
    results = {"heldout": {"reach": {}}, "policy": str(run / "round_001" / "policy"), "config": {"rounds": 2}}
    commands = {what: shlex.split(command) for what, command in next_commands(run, results)}
    assert commands["report"] == ["handeye", "report", str(run)]
    assert commands["export"] == ["handeye", "export", str(run), "OUT", "--format", "lerobot"]
    assert commands["watch"][2:] == ["reach", "film.mp4", "--policy", results["policy"]]
    assert commands["go on"][-3:] == ["--resume", "--rounds", "3"]


def test_a_stage_says_where_the_time_went():
    stages = [
        Done(1, "practise", {}, {"env_steps": 900, "branch_env_steps": 100}, 3, 10.0),
        Done(1, "prefer", {}, {}, 3, 30.0),
    ]
    assert took(stages[0], stages) == (
        "round 1, practise: 10.0 s, 1,000 environment steps, 100/s; 40 s so far: prefer 75 %, practise 25 %"
    )
    assert took(stages[1], stages).startswith("round 1, prefer: 30.0 s; 40 s")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_completes_commands(typed, shell):
    done = typed("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "improve" in done.stdout
    assert "--episodes" in done.stdout


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=ubuntu\nID_LIKE=debian", "apt-get install -y libegl1"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "dnf install -y mesa-libEGL"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"', "zypper install -y Mesa-libEGL1"),
        ("ID=arch", "pacman -S"),
        ("ID=unheard-of", "install EGL"),
        ("", "install EGL"),
    ],
)
def test_gl_is_mended_by_distribution(release, command):
    assert gl_fix(release).startswith(command)


def test_what_is_missing_has_its_command(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert wandb_login().fix.startswith("wandb login")
    monkeypatch.setenv("WANDB_API_KEY", "aSecret")
    assert not wandb_login().fix
    assert "aSecret" not in wandb_login().text
    there, *lacking = extras()
    assert "serve" in there.said + "".join(each.what for each in lacking)
    assert all(each.fix.startswith("pip install 'handeye[") for each in lacking)
    assert "GiB free" in disk(tmp_path).said
    assert shared_memory().what == "/dev/shm"
