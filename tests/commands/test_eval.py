"""`handeye eval`: several attempts at a start, and what a policy does without its frames or its instruction."""

import json

import pytest


@pytest.mark.slow
def test_attempts_and_what_is_withheld(nano_checkpoint, tmp_path, typed):
    said, page = tmp_path / "said.json", tmp_path / "page.html"
    options = ["--attempts", 3, "--temperature", 1, "--episodes", 2, "--without", "frames", "instruction"]
    done = typed("eval", "reach", "--policy", nano_checkpoint, *options, "--json", said, "--report", page)
    assert done.returncode == 0, done.stderr
    told = json.loads(said.read_text())
    assert told["result"]["n"] == 6
    assert list(told["pass_at"]) == ["1", "2", "3"]
    assert told["pass_at"]["1"] == told["result"]
    assert "one of 3 attempts: " in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attempts", "5"], "--attempts 5; valid: with a --temperature above 0, and without --until"),
        (["--attempts", "0"], "attempts = 0; valid: at least 1"),
        (["--without", "frames", "--policy", "random"], "policy 'random' is no checkpoint, from which"),
    ],
)
def test_what_cannot_be_measured(typed, options, message):
    done = typed("eval", "reach", "--episodes", "2", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


def test_one_instruction_has_no_other(typed):
    done = typed("eval", "cartpole", "--policy", "seed", "--episodes", "2", "--without", "instruction")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--without instruction, where all are 'keep the pole upright" in done.stderr
