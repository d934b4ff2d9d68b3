"""How trl's trainers are run: a progress bar, checks of the training's health, checkpoints to go on from.

The bar is not in `agent.record.console`, because that must load without torch.
"""

from collections.abc import Iterable

from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import SaveStrategy

from agent.optimise.checkpoints import checkpoints, saved_by_own_names
from agent.optimise.health import Health, check_rows
from agent.organise.rows import Asked
from agent.record.console import Bar, console


class BarCallback(TrainerCallback):
    """Advances a bar with the trainer's steps and shows the loss."""

    def __init__(self, bar: Bar):
        self._bar, self._loss = bar, ""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._bar.at(state.global_step, total=state.max_steps)  # not 0 where a training goes on

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self._bar.at(state.global_step, self._loss)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if logs and "loss" in logs:
            self._loss = f"loss {float(logs['loss']):.3f}"
            self._bar.at(state.global_step, self._loss)
            if not console.is_terminal:  # written to a file, a bar appears only when it is full
                console.print(f"step {state.global_step} of {state.max_steps}: {self._loss}")


def trainer_callback(listener: TrainerCallback | Bar) -> TrainerCallback:
    """The listener as a callback of transformers' Trainer; a bar is wrapped."""
    return BarCallback(listener) if isinstance(listener, Bar) else listener


def train(
    trainer: Trainer, rows: Iterable[Asked], listeners: Iterable[TrainerCallback | Bar], section: str
) -> dict[str, float]:
    """Train, with the listeners as callbacks in the place of the trainer's own printing. Returns the final metrics.

    A training of the same rows that was interrupted goes on from its newest whole checkpoint in the trainer's output
    folder, with the result that it would have had; a listener's `on_train_begin` finds the steps before in
    `state.global_step` and what was logged of them in `state.log_history`.

    section: the config's section with the settings. Raises UnhealthyError for a training that gives no policy, and
    UserError for a checkpoint that cannot be written.
    """
    check_rows(trainer, section)
    trainer.remove_callback(PrinterCallback)  # the listeners show and store the same numbers
    for listener in (*listeners, Health(section)):
        trainer.add_callback(trainer_callback(listener))
    if trainer.args.save_strategy == SaveStrategy.NO:
        return trainer.train().metrics
    kept = checkpoints(trainer, rows)
    trainer.add_callback(kept)
    found = [kept.newest() if trainer.is_world_process_zero() else None]
    newest = broadcast_object_list(found)[0]  # to the other processes of a training in several
    with kept.saving(), saved_by_own_names(trainer.model):
        return trainer.train(resume_from_checkpoint=newest and str(newest)).metrics
