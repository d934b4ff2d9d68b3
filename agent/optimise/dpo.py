"""Direct preference optimisation (DPO, Rafailov et al., 2023): trl's DPOTrainer on pairs of one observation."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback
from trl import DPOConfig, DPOTrainer

from agent.optimise.callbacks import train
from agent.optimise.sft import on_one_device, trainer_arguments
from agent.organise.rows import Pair, dpo_rows
from agent.record.console import Bar


def train_dpo(
    model: PreTrainedModel | PeftModel,
    reference: PreTrainedModel | None,
    processor: ProcessorMixin,
    pairs: Sequence[Pair],
    out: Path,
    settings: Mapping[str, Any],
    callbacks: Iterable[TrainerCallback | Bar] = (),
) -> dict[str, float]:
    """Train `model` in place against `reference`. settings: fields of trl's DPOConfig. Returns the final metrics.

    reference: None for a model with adapters. The reference is then the model itself with these adapters as they are
    now, which trl copies into the adapter `ref`: their base is in memory once. An interrupted training, too, is given
    the model as it was at first: the checkpoint's adapters are loaded after trl has made the copy.
    out: as in `train_sft`.
    Raises UnhealthyError for a training that gives no policy.
    """
    return train(dpo_trainer(model, reference, processor, pairs, out, settings), pairs, callbacks, "dpo")


def dpo_trainer(
    model: PreTrainedModel,
    reference: PreTrainedModel | None,
    processor: ProcessorMixin,
    pairs: Sequence[Pair],
    out: Path,
    settings: Mapping[str, Any],
) -> DPOTrainer:
    """reference: None for a model with adapters, to which trl adds a copy as the adapter `ref`."""
    return DPOTrainer(
        model=model,
        ref_model=reference,
        args=on_one_device(DPOConfig(output_dir=str(out), **trainer_arguments(model, settings))),
        train_dataset=dpo_rows(pairs),
        processing_class=processor,
    )
