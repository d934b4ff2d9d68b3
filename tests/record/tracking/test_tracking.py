"""Metrics are lines of JSON in the run's folder. A run that is resumed goes on with them, line by line."""

import json
import math
from contextlib import suppress

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from agent.config import Tracking
from agent.record.tracking import Tracker
from agent.record.tracking.training import TrackTraining

DISABLED = Tracking(mode="disabled")


def lines(folder):
    return [
        json.loads(line, parse_constant=pytest.fail) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def log(folder, *values, step=0):
    """Lines of one number each, by one tracker."""
    tracker = Tracker(folder, DISABLED, {}, step)
    for value in values:
        tracker.log({"a": value})
    tracker.close()


def test_numbers_become_lines_of_json(folder):
    tracker = Tracker(folder, DISABLED, {})
    tracker.log({"loss": 0.5, "n": 3, "flag": True, "name": "reach", "x": np.float32(0.25), "i": np.int64(7)})
    assert lines(folder) == [{"step": 0, "loss": 0.5, "n": 3, "flag": 1, "x": 0.25, "i": 7}]  # at once, not at the end
    tracker.log({"loss": math.nan, "gain": -math.inf})
    tracker.close()
    assert lines(folder)[1:] == [{"step": 1, "loss": None, "gain": None}]


def test_trees_are_flattened(folder):
    tracker = Tracker(folder, DISABLED, {})
    tracker.log_tree("round", {"accepted": True, "gate": {"before": {"k": 3, "ci95": [0.1, 0.2]}, "p_value": 0.5}})
    tracker.close()
    assert lines(folder) == [{"step": 0, "round/accepted": 1, "round/gate/before/k": 3, "round/gate/p_value": 0.5}]


def test_disabled_makes_nothing_else(folder, tmp_path):
    tracker = Tracker(folder, DISABLED, {"seed": 0})
    tracker.log({"a": 1})
    (tmp_path / "film.mp4").write_bytes(b"")
    tracker.video("film", tmp_path / "film.mp4")
    tracker.sync()
    tracker.close()
    assert [path.name for path in folder.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("rubbish", ["", '{"step": 4, "a"', '{"step": 4, "a": 4.0}', "\0\0\0"])
def test_a_resumed_run_has_the_lines_of_an_undisturbed_one(folder, capsys, rubbish):
    log(folder, 0, 1, 2, 3)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(rubbish)  # of a write that a crash cut short
    log(folder, 2, 3, 4, step=2)
    assert lines(folder) == [{"step": n, "a": n} for n in range(5)]
    assert capsys.readouterr().out == ""


def test_lines_that_are_lost_are_counted_and_the_steps_go_on(folder, capsys):
    log(folder, 0, 1, 2, 3)
    path = folder / "metrics.jsonl"
    first, second, *_ = path.read_text().splitlines(keepends=True)
    path.write_text(first + second.replace('"', "#"))
    log(folder, 4, step=4)
    assert lines(folder) == [{"step": 0, "a": 0}, {"step": 4, "a": 4}]
    assert capsys.readouterr().out == f"{path}: 3 of 4 lines are missing or damaged; the run goes on without them\n"
    log(folder, 5, step=5)
    assert [line["step"] for line in lines(folder)] == [0, 4, 5]


def test_nothing_is_left_is_said_too(folder, capsys):
    log(folder, 7, step=3)
    assert lines(folder) == [{"step": 3, "a": 7}]
    assert "3 of 3 lines" in capsys.readouterr().out


class KilledError(Exception):
    """What ends a training amid a step here."""


class Line(torch.nn.Module):
    """y = w x, with its squared error."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, labels):
        return {"loss": ((self.w * x - labels) ** 2).mean()}


def train(folder, tracker, steps, resume=False):
    """Train a line until a step is reached, with a checkpoint every other one; the schedule is that of six steps."""
    settings = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=6,
        logging_steps=1,
        save_steps=2,
        per_device_train_batch_size=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    data = [{"x": torch.tensor([float(n)]), "labels": torch.tensor([2.0 * n])} for n in range(6)]
    trainer = Trainer(Line(), settings, train_dataset=data, callbacks=[TrackTraining(tracker, "sft")])

    def killing(model, inputs, *rest, step=trainer.training_step):
        if trainer.state.global_step == steps:
            raise KilledError
        return step(model, inputs, *rest)

    trainer.training_step = killing
    with suppress(KilledError):
        trainer.train(resume_from_checkpoint=resume)


def test_a_training_that_goes_on_from_a_checkpoint_logs_what_it_had_logged(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    log(whole, 0)
    log(killed, 0)
    train(whole, undisturbed := Tracker(whole, DISABLED, {}, 1), 6)
    train(killed, Tracker(killed, DISABLED, {}, 1), 5)
    assert len(lines(killed)) == 6
    train(killed, resumed := Tracker(killed, DISABLED, {}, 1), 6, resume=True)
    assert resumed.step == undisturbed.step
    timed = ("sft/train_runtime", "sft/train_samples_per_second", "sft/train_steps_per_second", "sft/train_loss")
    texts = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, killed)]
    assert texts[0][:7] == texts[1][:7]  # to the byte
    assert all("sft/loss" in line for line in lines(whole)[1:7])
    ends = [{k: v for k, v in line.items() if k not in timed} for line in (*lines(whole)[7:], *lines(killed)[7:])]
    assert len(ends) == 2
    assert ends[0] == ends[1]
