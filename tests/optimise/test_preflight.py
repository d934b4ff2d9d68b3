"""Settings that trl would refuse after hours, or with which nothing is trained, are one line before a run starts."""

import time

import pytest
import torch
from transformers import Trainer

from agent.optimise.preflight import check_dpo, check_sft, two_pairs
from envs.errors import UserError
from envs.registry import TASKS
from policies.backends.loading import load_backend

BAD = [
    # (section, settings of which each is named, what the line also says)
    ("sft", {"max_length": 20}, "no supervised token"),
    ("sft", {"optim": "adamw_tors"}, "adamw_torch"),
    ("sft", {"optim": "galore_adamw"}, "galore_torch"),
    ("sft", {"optim_args": "foreach"}, ""),
    ("sft", {"learning_rate": -1.0}, "Invalid learning rate"),
    ("sft", {"learning_rate": float("nan")}, "Invalid learning rate"),
    ("sft", {"adam_beta1": 1.5}, "beta"),
    ("sft", {"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
    ("sft", {"lr_scheduler_type": "reduce_lr_on_plateau"}, "eval strategy"),
    ("sft", {"lr_scheduler_kwargs": {"cycles": 2}}, "'cycles'"),
    ("sft", {"lr_scheduler_type": "polynomial", "learning_rate": 1e-9}, "lr_end"),
    ("sft", {"warmup_steps": -5}, ">= 0"),
    ("sft", {"per_device_train_batch_size": 0}, "positive"),
    ("sft", {"gradient_accumulation_steps": 0}, "zero"),
    ("sft", {"num_train_epochs": 0}, "no step"),
    ("sft", {"max_steps": "many"}, ""),
    ("sft", {"packing": True}, "vision"),
    ("sft", {"padding_free": True}, "vision"),
    ("sft", {"pad_to_multiple_of": 8}, "not yet implemented"),
    ("sft", {"dataset_text_field": "prompt"}, "language modeling"),
    ("sft", {"assistant_only_loss": True}, "template"),
    ("sft", {"loss_type": "bce"}, "'nll'"),
    ("sft", {"eos_token": "<eos>"}, "vocabulary"),
    ("sft", {"chat_template_path": "nowhere.jinja"}, "nowhere.jinja"),
    ("sft", {"eval_strategy": "epoch"}, "eval_dataset"),
    ("sft", {"eval_on_start": True}, "eval_dataset"),
    ("sft", {"save_strategy": "best"}, "metric_for_best_model"),
    ("sft", {"save_only_model": True, "save_strategy": "steps"}, "valid: false"),
    ("dpo", {"sync_ref_model": True, "save_strategy": "epoch"}, "valid: false"),
    ("sft", {"gradient_checkpointing_kwargs": {"selective": True, "use_reentrant": True}}, "use_reentrant"),
    ("sft", {"dataloader_num_workers": -1}, "non-negative"),
    ("sft", {"torch_compile_mode": "fastest"}, "fastest"),
    ("sft", {"report_to": ["tensorbord"]}, "tensorboard"),
    ("sft", {"seed": -1}, "2**32"),
    ("dpo", {"max_length": 20}, "no supervised token"),
    ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "same length"),
    ("dpo", {"loss_type": "sigmoud"}, "'sigmoid'"),
    ("dpo", {"loss_type": "exo_pair"}, "Label smoothing"),
    ("dpo", {"loss_type": ["robust"], "label_smoothing": 0.5}, "not finite"),
    ("dpo", {"beta": 0.0}, "nothing is trained"),
    ("dpo", {"loss_weights": [0.0]}, "nothing is trained"),
    ("dpo", {"f_divergence_type": "js_divergence", "loss_type": ["bco_pair"]}, "only supported"),
    ("dpo", {"precompute_ref_log_probs": True}, "not supported for vision datasets"),
    ("dpo", {"truncation_mode": "keep_end", "max_length": 300}, "keep_start"),
    ("dpo", {"learning_rate": -1.0}, "Invalid learning rate"),
]
WITHOUT_GPU = [("sft", {"tf32": True}, "Ampere"), ("sft", {"bf16": True}, "bf16")]
GOOD = {"max_steps": 250, "per_device_train_batch_size": 32, "learning_rate": 5e-4, "warmup_steps": 10}


@pytest.fixture(scope="module")
def rows(backend):
    task = TASKS["reach"]
    env = task.make()
    env.reset(seed=0)
    observation = task.observe(env)
    env.close()
    return two_pairs([(task, observation)], backend)


@pytest.fixture
def check(fresh_backend, rows):
    def check(section, settings):
        (check_sft if section == "sft" else check_dpo)(section, settings, fresh_backend, rows)

    return check


@pytest.mark.parametrize(
    ("section", "settings", "told"),
    BAD + ([] if torch.cuda.is_available() else WITHOUT_GPU),
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_bad_setting_is_named_in_one_line(check, capfd, section, settings, told):
    with pytest.raises(UserError) as error:
        check(section, {"logging_steps": 20} | settings)
    message = str(error.value)
    assert message.startswith(f"config section '{section}'")
    assert "\n" not in message
    assert told in message
    head = message.split(": trl cannot train")[0]
    for name, value in settings.items():
        assert f"{name} = {value!r}" in head
    assert "logging_steps" not in head
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("sft", GOOD),
        ("sft", {"optim": "adafactor", "max_length": 400, "gradient_accumulation_steps": 8}),
        ("sft", {"dataloader_drop_last": True, "per_device_train_batch_size": 64}),
        ("dpo", GOOD | {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0], "beta": 1.0}),
        ("dpo", {"loss_type": "ipo", "num_train_epochs": 1}),
    ],
)
def test_a_good_setting_passes_in_a_moment_and_trains_nothing(check, fresh_backend, section, settings, tmp_path):
    before = {name: value.clone() for name, value in fresh_backend.model.state_dict().items()}
    started = time.process_time()
    check(section, settings)
    assert time.process_time() - started < 1.5
    after = fresh_backend.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("section", ["sft", "dpo"])
def test_a_trial_neither_saves_nor_takes_a_checkpoint(check, section, monkeypatch):
    def refuse(self, *arguments):
        raise AssertionError

    for name in ("_save_checkpoint", "_load_from_checkpoint"):
        monkeypatch.setattr(Trainer, name, refuse)
    check(section, GOOD | {"save_steps": 1, "max_steps": 2})


def test_both_trainers_are_tried_on_one_model(check):
    for section in ("sft", "dpo", "sft"):
        check(section, GOOD)


def test_adapters_are_tried_as_they_are_trained(fresh_backend, rows):
    """The reference of DPO is a second adapter, which the next trial does not find."""
    peft = pytest.importorskip("peft")
    linear = [name for name, module in fresh_backend.model.named_modules() if isinstance(module, torch.nn.Linear)]
    targets = [name for name in linear if "text_model" in name]
    fresh_backend.model = peft.get_peft_model(fresh_backend.model, peft.LoraConfig(r=2, target_modules=targets))
    check_sft("sft", GOOD, fresh_backend, rows)
    check_dpo("dpo", GOOD, fresh_backend, rows)
    with pytest.raises(UserError, match=r"^config section 'dpo', optim = 'adamw_tors': "):
        check_dpo("dpo", GOOD | {"optim": "adamw_tors"}, fresh_backend, rows)


def test_what_no_single_setting_cures_is_told_all_the_same(check):
    with pytest.raises(UserError, match=r"^config section 'sft': trl cannot train this policy with it: "):
        check("sft", {"learning_rate": -1.0, "adam_beta1": 1.5})


def test_a_policy_that_cannot_be_trained_at_all_is_told(nano_checkpoint, rows):
    backend = load_backend(nano_checkpoint)
    for parameter in backend.model.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(UserError, match=r"^config section 'sft': .*weights are still as they were"):
        check_sft("sft", GOOD, backend, rows)
