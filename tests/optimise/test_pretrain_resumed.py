"""A pretraining that was interrupted goes on, to the weights of one that was not."""

import json
from dataclasses import replace

import pytest
from transformers import TrainerCallback

from agent.config import Pretrain, Stage
from agent.optimise import pretrain as module
from agent.optimise.pretrain import pretrain
from agent.optimise.unfinished import has_begun
from envs.errors import UserError
from policies.backends.adapters.weights import weights_sha256
from policies.backends.settings import Lora, ModelSettings

SFT = {"max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "save_steps": 1}
STAGES = {name: Stage(demonstrations={"reach": 1}, sft=SFT) for name in ("form", "more", "last")}
MODELS = [ModelSettings(), ModelSettings(lora=Lora(r=4, alpha=8))]


class Killed(TrainerCallback):
    """Ends the training of a stage after a step, as Ctrl-C does."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.fixture
def killed(monkeypatch):
    """`killed(n)`: the n-th training from now on is interrupted after two steps."""
    train_sft = module.train_sft

    def kill(n):
        left = iter(range(n - 1, -100, -1))

        def train(*args):
            *rest, listeners, section = args
            return train_sft(*rest, [*listeners, *([Killed()] if next(left) == 0 else [])], section)

        monkeypatch.setattr(module, "train_sft", train)

    return kill


@pytest.fixture(params=MODELS, ids=["whole", "lora"])
def config(request, llava_checkpoint, tmp_path):
    options = {"tasks": ("reach",), "stages": STAGES, "start": str(llava_checkpoint), "model": request.param}
    return Pretrain(out=str(tmp_path / "seed"), **options)


@pytest.mark.slow
def test_an_interrupted_one_goes_on_to_the_same_weights(config, killed, tmp_path):
    whole = pretrain(replace(config, out=str(tmp_path / "whole")))
    out = tmp_path / "seed"
    for nth in (1, 2, 2):  # in the first stage; resumed, in the one after it, twice
        killed(nth)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, resume=has_begun(out))
        assert not out.exists()
    killed(0)
    with pytest.raises(
        UserError, match=r"seed.tmp' is a pretraining that was interrupted; valid: --resume, or --overwr"
    ):
        pretrain(config)
    with pytest.raises(
        UserError, match=r"began otherwise: config.seed = 1 \(was 0\); valid: as it was, or --overwrite"
    ):
        pretrain(replace(config, seed=1), resume=True)
    assert pretrain(replace(config, threads=1), resume=True) == out
    assert weights_sha256(out) == weights_sha256(whole)
    made, expected = (json.loads((folder / "pretrain.json").read_text()) for folder in (out, whole))
    assert [*made["stages"]] == [*STAGES]
    assert made["sha256"] == expected["sha256"] == weights_sha256(out)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed", "whole"]


def test_nothing_is_there_to_go_on_with(config, tmp_path):
    with pytest.raises(
        UserError, match=r"--resume: .*seed.tmp' is no interrupted pretraining; valid: without --resume"
    ):
        pretrain(config, resume=True)
    assert list(tmp_path.iterdir()) == []
