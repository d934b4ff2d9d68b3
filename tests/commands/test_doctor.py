"""`handeye doctor --policy`, and the configs whose comments repeat what it prints."""

from pathlib import Path

import pytest

from agent.commands.setup.doctor import Doctor, needs_of, shape_at
from agent.config import load
from envs.errors import UserError
from policies.backends.requirements import known, speeds

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "gpu").glob("*.yaml"))
MODELS = [path for path in CONFIGS if path.stem != "base"]
DECISIONS, ROWS = 24_000, 7_200  # of a round, as base.yaml says


def test_each_known_model_has_a_config():
    assert sorted(load(path).policy for path in MODELS) == sorted(known())


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_comment_is_what_doctor_prints(path):
    policy = load(path).policy
    asked = Doctor(policy, dtype="bfloat16")
    decisions_per_s, rows_per_s = speeds(shape_at(policy, asked.tokens), asked.tokens)
    minutes = DECISIONS / decisions_per_s / 60, ROWS / rows_per_s / 60
    lines = [*needs_of(asked, policy), "one round: {:.0f} min of decisions, {:.0f} min of training".format(*minutes)]
    assert path.read_text().splitlines()[: len(lines)] == [f"# {line}" for line in lines]


def test_a_checkpoint_is_told_with_what_fits_here(nano_checkpoint, capsys):
    Doctor(str(nano_checkpoint), rows=4, batch=2, tokens=64, image_tokens=16).run()
    lines = capsys.readouterr().out.splitlines()
    assert "float32" in lines[0]
    assert lines[1] == "rows of 64 tokens, 16 of an image; 4 decide at once, 2 a training step, LoRA of rank 16"
    assert [line.split(":")[0].rsplit(maxsplit=2)[0].strip() for line in lines[2:-1]] == [
        "act",
        "LoRA",
        "LoRA, checkpointing",
        "full",
    ]
    assert lines[-1].startswith("here (")
    assert "act: yes; LoRA: yes" in lines[-1]


def test_what_does_not_fit_is_said(capsys):
    Doctor("Qwen/Qwen2.5-VL-7B-Instruct", rows=10**6).run()
    assert "act: no" in capsys.readouterr().out.splitlines()[-1]


def test_the_table_has_a_row_for_each_known_model(capsys):
    Doctor("known").run()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == list(known())
    assert len({line.count("|") for line in lines}) == 1


def test_bad_numbers_are_named():
    with pytest.raises(UserError, match="tokens = 0; valid: at least 1"):
        Doctor("known", tokens=0).run()
