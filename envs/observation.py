"""What a policy is given: frames, an instruction, and what the robot knows of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Self

import cv2
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
        """16 bytes (BLAKE2b), equal for equal observations: in a deterministic simulator, wherever a state is
        restored."""
        return self._key

    @cached_property
    def _key(self) -> bytes:
        digest = blake2b(self.frames.tobytes(), digest_size=16)
        for text in (self.instruction, self.proprioception):
            digest.update(text.encode() + b"\0")
        return digest.digest()

    def pngs(self) -> tuple[bytes, ...]:
        """The frames, each as a PNG."""
        return tuple(map(encode_png, self.frames))

    def packed(self) -> "PackedObservation":
        """The same, to be kept."""
        packed = PackedObservation.of(self.pngs(), self.instruction, self.proprioception)
        vars(packed)["_key"] = self.key()
        return packed

    def since(self, first: Self) -> "Observation":
        """This moment as the ending of an episode that began with `first`: the last frame of both, (2, H, W, 3).

        The first frame shows what is hidden in the last, such as the object under the gripper, or the pad under it.
        """
        return Observation(np.stack([first.frames[-1], self.frames[-1]]), self.instruction, self.proprioception)


class PackedObservation(Observation):
    """An observation that holds its frames as PNGs, and decodes them whenever they are asked for.

    Thousands of observations are held in memory. As arrays, at 512 px, they take 0.8 MB a frame; as PNGs 7 to 180 KB.
    """

    def __init__(self, frames: np.ndarray, instruction: str, proprioception: str = ""):
        self._hold(tuple(map(encode_png, frames)), instruction, proprioception)

    @classmethod
    def of(cls, pngs: Sequence[bytes], instruction: str, proprioception: str = "") -> Self:
        """From frames that are PNGs."""
        packed = cls.__new__(cls)
        packed._hold(tuple(pngs), instruction, proprioception)
        return packed

    def _hold(self, pngs: tuple[bytes, ...], instruction: str, proprioception: str) -> None:
        vars(self).update(_pngs=pngs, instruction=instruction, proprioception=proprioception)  # it is frozen

    @property
    def frames(self) -> np.ndarray:
        return np.stack([decode_png(png) for png in self._pngs])

    def pngs(self) -> tuple[bytes, ...]:
        return self._pngs

    def packed(self) -> "PackedObservation":
        return self


def encode_png(frame: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> PNG, without a loss."""
    return cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()


def decode_png(data: bytes) -> np.ndarray:
    """PNG -> (H, W, 3) uint8."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
