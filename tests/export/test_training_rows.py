"""Pairs and rows as Parquet: what a run was trained on, with what it was measured by, as trl's trainers take it."""

from dataclasses import replace

import numpy as np
import pytest
from stored_run import stored_run

from agent.optimise.sft import on_one_device, trainer_arguments
from agent.record.run.journal import Journal
from agent.stages.recorded import recorded_rounds
from policies.backends.loading import load_backend

SELECT = {"min_margin": {"success": 0.5, "saved": 0.5}, "rejected": 1, "per_start": 2}


def marked(episode):
    """The episode, each state with a fingerprint: those of one start begin in the same one."""
    steps = [replace(step, fingerprint=bytes([episode.seed, i])) for i, step in enumerate(episode.steps)]
    return replace(episode, steps=steps)


@pytest.fixture
def run(tmp_path, episode, nano_checkpoint):
    """A round with two starts: at the first of them two answers were tried, one three times."""
    tried = [((1, 0), True), ((0, 0), False), ((1, 0), True), ((1, 0), False)]
    branches = [marked(episode([move, (0, 1)], won, seed=7, attempt=i)) for i, (move, won) in enumerate(tried)]
    practice = [marked(episode([(1, 0), (1, 1)], True, seed=8)), marked(episode([(1, 0)], seed=9))]
    stores = {"round_001/branches": branches, "round_001/episodes": practice}
    return stored_run(tmp_path / "run", stores, nano_checkpoint, pairs=1, select=SELECT)


@pytest.fixture
def exported(run, tmp_path, typed):
    done = typed("export", run, tmp_path / "out", "--format", "parquet")
    assert done.returncode == 0, done.stderr
    assert "1 pairs, 2 rows" in done.stdout
    assert "the run was trained on" not in done.stdout
    return tmp_path / "out"


@pytest.fixture
def loaded(exported, tmp_path):
    from datasets import load_dataset

    def load(name):
        path, cache = str(exported / f"{name}.parquet"), str(tmp_path / "cache")
        return load_dataset("parquet", data_files=path, split="train", cache_dir=cache)

    return load


def test_a_pair_says_what_it_was_measured_by(run, loaded):
    (pair,) = loaded("pairs")
    (measured,) = recorded_rounds(Journal(run))[0].preferences()
    assert pair["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": "move +1 +0"}]}]
    assert pair["rejected"][0]["content"][0]["text"] == "move +0 +0"
    assert (pair["chosen_successes"], pair["chosen_n"]) == (2, 3)
    assert (pair["rejected_successes"], pair["rejected_n"]) == (0, 1)
    assert (pair["margin_success"], pair["p_value"]) == (pytest.approx(2 / 3), measured.p_value)
    assert (pair["task"], pair["seed"], pair["round"], pair["fingerprint"]) == ("toy", 7, 1, "0700")
    assert (np.array(pair["images"][0]) == measured.chosen.observation.frames[0]).all()
    assert [part["type"] for part in pair["prompt"][0]["content"]] == ["image", "text"]


def test_a_row_is_a_step_that_was_imitated(loaded):
    rows = list(loaded("rows"))
    assert [(row["seed"], row["attempt"], row["step"], row["fingerprint"]) for row in rows] == [
        (8, 0, 0, "0800"),
        (8, 0, 1, "0801"),
    ]
    assert rows[1]["completion"][0]["content"][0]["text"] == "move +1 +1"


def test_the_card_names_both_files(exported):
    text = (exported / "README.md").read_text()
    assert "config_name: pairs\n  data_files: pairs.parquet" in text
    assert "| 1 | 2 | 50.0 % | - | - |" in text


@pytest.mark.slow
def test_trl_trains_on_them(loaded, fresh_backend, nano_checkpoint, tmp_path):
    from trl import DPOConfig, DPOTrainer

    pairs = loaded("pairs").select_columns(["images", "prompt", "chosen", "rejected"])
    settings = {"max_steps": 1, "per_device_train_batch_size": 1, "report_to": "none", "seed": 0}
    model = fresh_backend.model
    trainer = DPOTrainer(
        model=model,
        ref_model=load_backend(nano_checkpoint).model,
        args=on_one_device(DPOConfig(output_dir=str(tmp_path / "dpo"), **trainer_arguments(model, settings))),
        train_dataset=pairs,
        processing_class=fresh_backend.processor,
    )
    assert np.isfinite(trainer.train().training_loss)
