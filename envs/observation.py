"""What a policy is given: frames, an instruction, and what the robot knows of itself."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Observation:
    """One moment as the policy sees it; nothing privileged is in it.

    frames: (T, H, W, 3) uint8, oldest first. instruction: the task in words.
    proprioception: the robot's own readings in words, empty where it has none.
    """

    frames: np.ndarray
    instruction: str
    proprioception: str = ""

    def key(self) -> bytes:
        """Equal for observations that look the same: in a deterministic simulator, for a state come back to."""
        return b"".join([self.frames.tobytes(), self.instruction.encode(), self.proprioception.encode()])
