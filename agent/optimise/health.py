"""The health of a training by trl: a fault stops it, with a name, before a policy that cannot act is saved.

Checked are the rows before the first step, the gradient of every step, the numbers that are logged, and the weights
after the last step.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState
from trl import GRPOTrainer

from envs.errors import UserError

ROWS_AT_ONCE = 32  # collated together, by `check_rows`
OVERFLOWS = 20  # steps in a row: a gradient scaler halves its scale, 65,536 at first, at each one, until it is 1


class UnhealthyError(UserError):
    """A training that gives no policy. The message names the stage, the step, the fault and the setting behind it."""


class Health(TrainerCallback, ExportableState):
    """Raises UnhealthyError, and so ends the training, for a non-finite loss, gradient or weight, for gradients of
    exactly zero from the first step on, and for a training without a step.

    section: the config's section with the trainer's settings, such as `sft`. first_steps: with a gradient of exactly
    zero, before the training is stopped. What it counts is saved in the trainer's checkpoints.
    """

    def __init__(self, section: str, first_steps: int = 10):
        self._section, self._first_steps, self._zeros, self._overflows = section, first_steps, 0, 0

    def state(self) -> dict[str, dict[str, Any]]:
        """For the trainer's checkpoints, as JSON."""
        arguments = {"section": self._section, "first_steps": self._first_steps}
        return {"args": arguments, "attributes": {"_zeros": self._zeros, "_overflows": self._overflows}}

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Counts go on where the training was interrupted; a fresh one's state has the counts of `__init__`."""
        vars(self).update(state.stateful_callbacks[type(self).__name__]["attributes"])

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        """The gradient of every step, while the weights are still those of the step before.

        In float16 a non-finite gradient is no fault: the gradient scaler leaves the step out and lowers its scale.
        """
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not gradients:  # kept elsewhere, as by DeepSpeed: then the norm that is logged is all there is
            return
        norm, step = float(torch.nn.utils.get_total_norm(gradients)), state.global_step + 1
        self._overflows = 0 if math.isfinite(norm) else self._overflows + 1
        if self._overflows > (OVERFLOWS if args.fp16 else 0):
            suspect = self._suspect(args, updates=state.global_step)
            raise self._fault(state, step, f"the gradient is not finite ({norm})", suspect)
        self._zeros += norm == 0 and self._zeros == state.global_step
        if self._zeros >= min(self._first_steps, state.max_steps):
            fault = "nothing is trained: every gradient so far is exactly 0"
            raise self._fault(state, step, fault, f"no weight is trainable, or {self._loss(args)}")

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        for name in ("loss",) if args.fp16 else ("loss", "grad_norm"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                suspect = self._suspect(args, updates=state.global_step - 1)
                raise self._fault(state, state.global_step, f"{name} = {value}", suspect)

    def on_train_end(self, args, state, control, model=None, **kwargs) -> None:
        if not state.global_step:
            settings = (f"{self._section}.{name} = {getattr(args, name)}" for name in ("num_train_epochs", "max_steps"))
            raise UnhealthyError(f"{self._section} took no step: {', '.join(settings)}; valid: one of them above 0")
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        broken = [name for name, p in trained.items() if not torch.isfinite(p).all()]
        if broken:
            fault = f"{len(broken)} of {len(trained)} trained tensors are not finite, first {broken[0]}"
            suspect = self._suspect(args, updates=state.global_step)
            raise self._fault(state, state.global_step, fault, suspect)

    def _fault(self, state, step: int, fault: str, suspect: str) -> UnhealthyError:
        return UnhealthyError(f"{self._section} stopped at step {step} of {state.max_steps}: {fault}; {suspect}")

    def _suspect(self, args, updates: int) -> str:
        """What is most likely behind a number that is not finite, after so many updates of the weights."""
        if args.fp16 and (self._overflows or not updates):
            return f"most likely {self._section}.fp16 = True"
        if not updates:
            return "the weights are still as they were: most likely they, a row or the loss is at fault"
        return f"most likely {self._section}.learning_rate = {args.learning_rate:g} is too high"

    def _loss(self, args) -> str:
        settings = {name: getattr(args, name) for name in ("loss_type", "beta") if hasattr(args, name)}
        return ", ".join(f"{self._section}.{name} = {value}" for name, value in settings.items()) + " has no gradient"


def check_rows(trainer: Trainer, section: str) -> None:
    """Raises UnhealthyError for a row without a supervised token, as the trainer's own collator makes it, and for rows
    that do not fill the one batch that must be full.

    Only a `max_length` cuts some answers off and leaves others. Without it the first rows stand for all.
    GRPO's rows hold no answer.
    """
    rows, collate, longest = trainer.train_dataset, trainer.data_collator, getattr(trainer.args, "max_length", None)
    if trainer.args.dataloader_drop_last and len(rows) < trainer.args.train_batch_size:
        few = f"{section} took no step: {len(rows)} rows are no batch of {trainer.args.train_batch_size}"
        raise UnhealthyError(f"{few}, and {section}.dataloader_drop_last = True; valid: false")
    if isinstance(trainer, GRPOTrainer):
        return
    checked = len(rows) if longest is not None else min(len(rows), ROWS_AT_ONCE)
    for first in range(0, checked, ROWS_AT_ONCE):
        some = range(first, min(first + ROWS_AT_ONCE, checked))
        empty = [i for i, n in enumerate(_supervised(collate([rows[i] for i in some]))) if not n]
        if not empty:
            continue
        what = f"{section}: row {some[empty[0] % len(some)] + 1} of {len(rows)} has no supervised token"
        if longest is None:
            raise UnhealthyError(f"{what}; the chat template of the policy shows no answer")
        whole = replace(collate, max_length=None)([rows[i] for i in some])
        tokens = int(whole["attention_mask"].sum(1).max())
        raise UnhealthyError(f"{what}: {section}.max_length = {longest} cuts it off; valid: null, or at least {tokens}")


def _supervised(batch: Mapping[str, Any]) -> list[int]:
    """Supervised tokens of each row; DPO has the chosen answers first, then as many rejected ones."""
    mask = batch["labels"] != -100 if "labels" in batch else batch["completion_mask"]
    return mask.sum(1).tolist()
