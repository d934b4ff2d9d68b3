"""A round whose training is unhealthy is refused: it says why, the incumbent stays, and the run goes on."""

import json
from pathlib import Path

import pytest
import yaml

from agent import loop
from agent.commands.training.improve import Improve
from agent.record.tables import percent
from envs.errors import UserError

pytestmark = pytest.mark.slow
TRAINER = {"max_steps": 3, "per_device_train_batch_size": 2, "lr_scheduler_type": "constant", "logging_steps": 1}
DIVERGING = TRAINER | {"learning_rate": 1e4}
TINY = {
    "policy": "seed",
    "tasks": ["reach"],
    "n_envs": 8,
    "threads": 1,
    "collect": {"starts": 4, "attempts": 2},
    "select": {"critiques": 4, "min_margin": {"success": 0.1, "saved": 0.1}},
    "gate": {"episodes": 1},
    "evaluation": {"tasks": ["reach"], "episodes": 1, "videos": 0},
    "tracking": {"mode": "disabled"},
    "sft": TRAINER,
    "dpo": TRAINER,
}


@pytest.fixture
def improve(tmp_path):
    """Runs `handeye improve` on a tiny config; returns the run's folder, results.json and the UserError, if any."""

    def run(**changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(TINY | {"out": str(tmp_path / "run")} | changes))
        error = None
        try:
            Improve(path).run()
        except UserError as raised:
            error = raised
        results = (tmp_path / "run" / "results.json").read_text()
        return tmp_path / "run", json.loads(results, parse_constant=pytest.fail), error

    return run


def test_rounds_whose_imitation_diverges_keep_the_incumbent(improve, monkeypatch, capsys):
    practise, practised = loop.practise, []
    monkeypatch.setattr(loop, "practise", lambda r, policy: practised.append(policy) or practise(r, policy))
    run, results, error = improve(rounds=2, sft=DIVERGING)
    seed = Path(results["policy"])
    assert practised == [seed, seed]
    assert seed.parts[-2:] == ("policies", "seed")
    assert results["complete"] is True
    for number, row in enumerate(results["rounds"], 1):
        assert (row["round"], row["accepted"]) == (number, False)
        assert row["unhealthy"].startswith("sft stopped at step 2 of 3: ")
        assert "sft.learning_rate = 10000 is too high" in row["unhealthy"]
        assert row["episodes"] == 8
        assert (row["sft_examples"], row["pairs"], row["gate"]["before"]["n"]) == (0, 0, 0)
        assert set(row["critic"]) == {"auroc", "brier", "ends", "best_of"}
    assert not list(run.glob("round_*/**/*.safetensors"))
    assert results["provenance"]["policy"] == results["provenance"]["seed_policy"]
    shown = " ".join(capsys.readouterr().out.split())
    assert f"round 2 has no candidate, the incumbent stays: {row['unhealthy']}" in shown
    assert str(error) == f"no round trained a candidate; the last: {row['unhealthy']}"


def test_a_round_whose_preference_diverges_is_refused_whole(improve):
    """What SFT made is no candidate either: the gate has not seen it."""
    run, results, error = improve(rounds=1, dpo=DIVERGING | {"loss_type": ["sigmoid", "sft"], "loss_weights": [1, 1]})
    (row,) = results["rounds"]
    assert row["unhealthy"].startswith("dpo stopped at step ")
    assert row["sft_examples"] > 0
    assert row["accepted"] is False
    assert not list((run / "round_001" / "policy").glob("*.safetensors"))
    assert error


def test_after_a_refused_round_the_next_one_trains(improve, monkeypatch):
    optimise = loop.optimise

    def diverges_once(r, policy, by):
        if r.number == 1:
            raise loop.UnhealthyError("sft stopped")
        return optimise(r, policy, by)

    monkeypatch.setattr(loop, "optimise", diverges_once)
    run, results, error = improve(rounds=2)
    first, second = results["rounds"]
    assert first["unhealthy"] == "sft stopped"
    assert "unhealthy" not in second
    assert second["sft_examples"] > 0
    assert second["gate"]["before"]["n"] == 1
    assert (run / "round_002" / "policy" / "model.safetensors").is_file()
    assert error is None


def test_a_rate_of_no_episodes_is_a_dash():
    assert percent({"k": 0, "n": 0, "rate": None, "ci95": [None, None]}) == "-"
