"""Supervised fine-tuning (SFT): trl's SFTTrainer on rows of frames, prompt and completion."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback
from trl import SFTConfig, SFTTrainer

from agent.optimise.callbacks import train
from agent.organise.rows import Example, sft_rows
from agent.record.console import Bar

# Instead of trl's defaults: image tokens must not be truncated, and bfloat16 is slow on a CPU.
CPU_SAFE: dict[str, Any] = {
    "max_length": None,
    "bf16": False,
    "activation_checkpointing": False,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}


def train_sft(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    examples: Iterable[Example],
    out: Path,
    settings: Mapping[str, Any],
    callbacks: Iterable[TrainerCallback | Bar] = (),
    section: str = "sft",
) -> dict[str, float]:
    """Train `model` in place. settings: fields of trl's SFTConfig. Returns the trainer's final metrics.

    section: the config's section with the settings. Raises UnhealthyError for a training that gives no policy.
    """
    return train(sft_trainer(model, processor, examples, out, settings), callbacks, section)


def sft_trainer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    examples: Iterable[Example],
    out: Path,
    settings: Mapping[str, Any],
) -> SFTTrainer:
    return SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=str(out), **{**CPU_SAFE, **settings}),
        train_dataset=sft_rows(examples),
        processing_class=processor,
    )
