"""Direct preference optimisation (DPO, Rafailov et al., 2023): trl's DPOTrainer on pairs of one observation."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback
from trl import DPOConfig, DPOTrainer

from agent.optimise.callbacks import train
from agent.optimise.sft import CPU_SAFE
from agent.organise.rows import Pair, dpo_rows
from agent.record.console import Bar


def train_dpo(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    processor: ProcessorMixin,
    pairs: Sequence[Pair],
    out: Path,
    settings: Mapping[str, Any],
    callbacks: Iterable[TrainerCallback | Bar] = (),
) -> dict[str, float]:
    """Train `model` in place against `reference`. settings: fields of trl's DPOConfig. Returns the final metrics.

    Raises UnhealthyError for a training that gives no policy.
    """
    return train(dpo_trainer(model, reference, processor, pairs, out, settings), callbacks, "dpo")


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
        args=DPOConfig(output_dir=str(out), **{**CPU_SAFE, **settings}),
        train_dataset=dpo_rows(pairs),
        processing_class=processor,
    )
