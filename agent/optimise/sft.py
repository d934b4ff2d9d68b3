"""Supervised fine-tuning (SFT): trl's SFTTrainer on rows of frames, prompt and completion."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

from agent.optimise.callbacks import train
from agent.organise.rows import Example, sft_rows
from agent.record.console import Bar, console
from envs.errors import UserError

SAVE_STEPS = 100  # between two checkpoints. One of the embedded model (21 MB) costs 0.2 % of 100 steps of 32 rows.
# With these a checkpoint lacks the optimiser's state or the reference's weights, or its place in the data is not used.
INEXACT = ("save_only_model", "sync_ref_model", "ignore_data_skip")


def trainer_arguments(model: PreTrainedModel | PeftModel, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, over ours in the place of trl's defaults: image tokens must not be truncated, and bfloat16, slow on
    a CPU, is used where the model's own weights have it on an accelerator.

    A training that could not go on exactly from a checkpoint saves none. Raises UserError where it is told to.
    """
    inexact = [name for name in INEXACT if settings.get(name)]
    if inexact and settings.get("save_strategy", "no") != "no":
        raise UserError(
            f"{inexact[0]} = True: no training goes on from its checkpoints; valid: false, or no save_strategy"
        )
    accelerated = model.device.type != "cpu"
    ours = {
        "max_length": None,
        "bf16": accelerated and model.dtype == torch.bfloat16 and not settings.get("fp16"),
        "activation_checkpointing": False,
        "report_to": [],
        "save_strategy": "no" if inexact else "steps",
        "save_steps": SAVE_STEPS,
        "disable_tqdm": True,
        "dataloader_pin_memory": accelerated,
        "use_cpu": torch.accelerator.is_available() and not accelerated,  # else it moves there
    }
    renamed = {name.replace("gradient_checkpointing", "activation_checkpointing"): v for name, v in settings.items()}
    return ours | renamed  # transformers ignores the older name beside the newer one


def on_one_device(args: TrainingArguments) -> TrainingArguments:
    """The arguments, with one device for this process where it sees several.

    transformers would copy the model to each of them (`nn.DataParallel`), which trl's trainers refuse.
    """
    if args.n_gpu > 1:
        _say_once(f"{args.n_gpu} devices are visible, and training uses {args.device}; model.devices: N uses N of them")
        args._n_gpu = 1  # as transformers does for a model that lies on several devices
    return args


@cache
def _say_once(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def train_sft(
    model: PreTrainedModel | PeftModel,
    processor: ProcessorMixin,
    examples: Iterable[Example],
    out: Path,
    settings: Mapping[str, Any],
    callbacks: Iterable[TrainerCallback | Bar] = (),
    section: str = "sft",
) -> dict[str, float]:
    """Train `model` in place. settings: fields of trl's SFTConfig. Returns the trainer's final metrics.

    out: folder of the training's checkpoints, from which it goes on where it was interrupted, given the same model,
    examples and settings again. Whoever calls deletes it once the trained policy is saved.
    section: the config's section with the settings. Raises UnhealthyError for a training that gives no policy.
    """
    examples = list(examples)
    return train(sft_trainer(model, processor, examples, out, settings), examples, callbacks, section)


def sft_trainer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    examples: Iterable[Example],
    out: Path,
    settings: Mapping[str, Any],
) -> SFTTrainer:
    return SFTTrainer(
        model=model,
        args=on_one_device(SFTConfig(output_dir=str(out), **trainer_arguments(model, settings))),
        train_dataset=sft_rows(examples),
        processing_class=processor,
    )
