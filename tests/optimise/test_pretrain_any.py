"""Pretraining starts from any model, with adapters where the config asks for them."""

import json

import pytest

from agent.commands.checks import check_pretrain
from agent.config import Pretrain, Stage
from agent.optimise.pretrain import pretrain
from agent.record.ownership import begin
from envs.errors import UserError
from policies.backends.adapters.folder import read_base
from policies.backends.adapters.weights import weights_sha256
from policies.backends.loading import load_backend
from policies.backends.settings import Lora, ModelSettings

SFT = {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-3}
STAGES = {"form": Stage(demonstrations={"reach": 1}, sft=SFT)}
LORA = ModelSettings(lora=Lora(r=4, alpha=8))


def config(out, start, **changes):
    return Pretrain(**{"out": str(out), "tasks": ("reach",), "stages": STAGES, "start": start, "model": LORA} | changes)


def test_demonstrations_alone_train_adapters_of_another_family(llava_checkpoint, tmp_path):
    """No captions are needed. A second run goes on with the adapters of the first, over the same base."""
    first = config(tmp_path / "first", str(llava_checkpoint), stages=STAGES | {"more": STAGES["form"]})
    check_pretrain(first)
    out = pretrain(first)
    made = json.loads((out / "pretrain.json").read_text())
    assert made["config"]["model"]["lora"]["r"] == 4
    assert made["provenance"]["start"] == weights_sha256(llava_checkpoint)
    assert made["sha256"] == weights_sha256(out)
    assert read_base(out)["base"] == str(llava_checkpoint.resolve())
    second = pretrain(config(tmp_path / "second", str(out)))
    assert read_base(second) == read_base(out)
    assert weights_sha256(second) != weights_sha256(out)
    assert not load_backend(second).model.training
    with pytest.raises(UserError, match="exists"):
        pretrain(config(second, str(out)))
    pretrain(config(second, str(out), stages={"none": Stage(demonstrations={"reach": 1}, sft=SFT)}), overwrite=True)


def test_all_weights_of_another_family_are_trained_without_adapters(llava_checkpoint, tmp_path):
    begin(tmp_path / "whole.tmp", "checkpoint")
    (tmp_path / "whole.tmp" / "adapter_config.json").write_text("{}")  # of a try that did not come to a checkpoint
    out = pretrain(config(tmp_path / "whole", str(llava_checkpoint), model=ModelSettings()))
    assert (out / "model.safetensors").is_file()
    assert weights_sha256(out) != weights_sha256(llava_checkpoint)
    load_backend(out)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": None}, "model.lora trains no embeddings, and start = null"),
        ({"new_words": True}, "model.lora trains no embeddings, and new_words = true"),
        ({"model": ModelSettings(lora=Lora(modules_to_save=("eye",)))}, "modules_to_save = 'eye' is no module"),
    ],
)
def test_adapters_that_cannot_be_are_refused_before_anything_starts(llava_checkpoint, tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        check_pretrain(config(tmp_path / "out", **{"start": str(llava_checkpoint)} | changes))
    assert not list(tmp_path.iterdir())


def test_an_expert_that_never_succeeds_is_named(llava_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("agent.optimise.pretrain.demonstrations", lambda *asked: iter(()))
    with pytest.raises(UserError, match=r"stages\.form has no rows: no demonstration succeeded; valid: an expert"):
        pretrain(config(tmp_path / "out", str(llava_checkpoint)))
    assert not (tmp_path / "out").exists()
