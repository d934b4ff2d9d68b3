"""KTO (Ethayarajh et al., 2024): trl's KTOTrainer on answers that are labelled good or bad."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback
from trl import KTOConfig, KTOTrainer

from agent.optimise.callbacks import train
from agent.optimise.sft import on_one_device, trainer_arguments
from agent.organise.rows import Labelled, kto_rows
from agent.record.console import Bar


def train_kto(
    model: PreTrainedModel | PeftModel,
    reference: PreTrainedModel | None,
    processor: ProcessorMixin,
    answers: Sequence[Labelled],
    out: Path,
    settings: Mapping[str, Any],
    callbacks: Iterable[TrainerCallback | Bar] = (),
) -> dict[str, float]:
    """Train `model` in place against `reference`. settings: fields of trl's KTOConfig. Returns the final metrics.

    reference, out: as in `train_dpo`. Raises UnhealthyError for a training that gives no policy.
    """
    return train(kto_trainer(model, reference, processor, answers, out, settings), answers, callbacks, "kto")


def kto_trainer(
    model: PreTrainedModel,
    reference: PreTrainedModel | None,
    processor: ProcessorMixin,
    answers: Sequence[Labelled],
    out: Path,
    settings: Mapping[str, Any],
) -> KTOTrainer:
    """reference: None for a model with adapters, to which trl adds a copy as the adapter `ref`."""
    return KTOTrainer(
        model=model,
        ref_model=reference,
        args=on_one_device(KTOConfig(output_dir=str(out), **trainer_arguments(model, settings))),
        train_dataset=kto_rows(answers),
        processing_class=processor,
    )
