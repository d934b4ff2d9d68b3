"""What a policy is given: frames, an instruction, and what the robot knows of itself."""

from dataclasses import dataclass, replace
from typing import Self

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
        """Equal for equal observations: in a deterministic simulator, wherever a state is restored."""
        return b"".join([self.frames.tobytes(), self.instruction.encode(), self.proprioception.encode()])

    def since(self, first: Self) -> Self:
        """This moment as the ending of an episode that began with `first`: the last frame of both, (2, H, W, 3).

        The first frame shows what is hidden in the last, such as the object under the gripper, or the pad under it.
        """
        return replace(self, frames=np.stack([first.frames[-1], self.frames[-1]]))
