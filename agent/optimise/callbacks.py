"""What shows a trl trainer's progress at the terminal. Apart from `agent.record.console`, which loads no torch."""

from transformers import TrainerCallback

from agent.record.console import Bar, console


class BarCallback(TrainerCallback):
    """Moves a bar with the trainer's steps, and notes its loss."""

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
            if not console.is_terminal:  # a log shows a bar only once it is full
                console.print(f"step {state.global_step} of {state.max_steps}: {self._loss}")


def trainer_callback(listener: TrainerCallback | Bar) -> TrainerCallback:
    """What transformers' Trainer calls: the listener itself, or one that moves the bar."""
    return BarCallback(listener) if isinstance(listener, Bar) else listener
