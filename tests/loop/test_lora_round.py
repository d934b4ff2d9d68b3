"""Rounds with LoRA: adapters all the way, over one base that stays where it is and is in memory once."""

import gc
import json
from pathlib import Path

import pytest
from test_improve import config, near, run  # noqa: F401 (fixtures)
from transformers import PreTrainedModel

from agent import loop
from agent.collect import workers
from agent.stages.optimisers import imitate, prefer
from policies.backends.adapters.folder import has_adapters, read_base
from policies.backends.adapters.weights import weights_sha256

LORA = {"lora": {"r": 4, "alpha": 8}}


def models():
    return {id(m) for m in gc.get_objects() if isinstance(m, PreTrainedModel) and hasattr(m, "lm_head")}


@pytest.mark.slow
def test_rounds_train_adapters_over_one_base(config, monkeypatch, nano_checkpoint):  # noqa: F811
    """The second round trains those of the first further. The process holds one model at a time, while a stage trains
    and when the next policy is loaded to act."""
    others, held, alone = models(), [], []

    def counted(train):
        def counting(*arguments):
            held.append(len(models() - others))
            return train(*arguments)

        return counting

    def loaded(*arguments, load=workers.open_backend):
        alone.append(not models() - others)
        return load(*arguments)

    monkeypatch.setattr(workers, "open_backend", loaded)
    monkeypatch.setattr(imitate, "train_sft", counted(imitate.train_sft))
    monkeypatch.setattr(prefer, "train_dpo", counted(prefer.train_dpo))
    passed = loop.gate
    monkeypatch.setattr(loop, "gate", lambda r, incumbent: passed(r, incumbent) | {"accepted": True})
    path, results = run(config(model=LORA, rounds=2))
    assert [row["pairs"] > 0 for row in results["rounds"]] == [True, True]
    assert held == [1] * 4
    assert alone
    assert all(alone)
    base = {"base": str(nano_checkpoint.resolve()), "weights_sha256": weights_sha256(nano_checkpoint)}
    hashes = []
    for number in (1, 2):
        for name in ("sft", "policy"):
            folder = path / f"round_00{number}" / name
            assert has_adapters(folder)
            assert not (folder / "model.safetensors").exists()
            assert read_base(folder).items() >= base.items()
            signed = json.loads((folder / "provenance.json").read_text())
            assert signed["parent"]["weights"] == (hashes[-1] if hashes else weights_sha256(nano_checkpoint))
            hashes.append(weights_sha256(folder))
    assert len(set(hashes)) == 4
    assert Path(results["policy"]) == path / "round_002" / "policy"


@pytest.mark.slow
def test_a_round_without_rows_still_begins_the_adapters(config, monkeypatch, nano_checkpoint):  # noqa: F811
    """A copy of the whole base would be another base for the rounds after it."""
    monkeypatch.setattr(imitate.Round, "learned", lambda r: ([], []))
    monkeypatch.setattr(imitate, "measured_critiques", lambda r: [])
    monkeypatch.setattr(prefer.pairs, "preferences", lambda *arguments: [])
    path, results = run(config(model=LORA))
    assert (results["rounds"][0]["sft_examples"], results["rounds"][0]["pairs"]) == (0, 0)
    assert read_base(path / "round_001" / "policy")["base"] == str(nano_checkpoint.resolve())
