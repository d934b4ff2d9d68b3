"""The curve of a training by Stable-Baselines3 (SB3), for a tracker."""

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agent.record.tracking import ENV_STEPS, Tracker

LINES = 200  # of a training, at most: an off-policy algorithm has a rollout at each step


class TrackCurve(BaseCallback):
    """Logs the success of the latest hundred episodes, and SB3's own numbers, at the end of a rollout."""

    def __init__(self, tracker: Tracker, steps: int):
        """steps: of the whole training."""
        super().__init__()
        self._tracker, self._every, self._next = tracker, max(1, steps // LINES), 0

    def _on_rollout_end(self) -> None:
        if self.num_timesteps < self._next:
            return
        self._next = self.num_timesteps + self._every
        numbers, ended = {ENV_STEPS: self.num_timesteps}, self.model.ep_success_buffer
        if ended:
            numbers["baseline/success"] = np.mean(ended)
        own = {name: value for name, value in self.logger.name_to_value.items() if name.startswith("train/")}
        self._tracker.log(numbers | {f"baseline/{name}": value for name, value in own.items()})

    def _on_step(self) -> bool:
        return True
