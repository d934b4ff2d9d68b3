"""A progress bar for trl's trainers. Not in `agent.record.console`, because that must load without torch."""

from collections.abc import Iterable

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from agent.optimise.health import Health, check_rows
from agent.record.console import Bar, console


class BarCallback(TrainerCallback):
    """Advances a bar with the trainer's steps and shows the loss."""

    def __init__(self, bar: Bar):
        self._bar, self._loss = bar, ""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._bar.at(0, total=state.max_steps)

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


def train(trainer: Trainer, listeners: Iterable[TrainerCallback | Bar], section: str) -> dict[str, float]:
    """Train, with the listeners as callbacks in the place of the trainer's own printing. Returns the final metrics.

    section: the config's section with the settings. Raises UnhealthyError for a training that gives no policy.
    """
    check_rows(trainer, section)
    trainer.remove_callback(PrinterCallback)  # the listeners show and store the same numbers
    for listener in (*listeners, Health(section)):
        trainer.add_callback(trainer_callback(listener))
    return trainer.train().metrics
