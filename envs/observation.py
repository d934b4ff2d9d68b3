"""What a policy is given: frames, an instruction, and what the robot knows of itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Protocol, Self
from zlib import crc32

import cv2
import numpy as np

from envs.errors import UserError

GREY = 128
MOST_PIXELS = 2**26  # of a frame: 200 MB when it is decoded


class Stored(Protocol):
    """Bytes that are elsewhere, such as a PNG in a file, and are read whenever they are asked for."""

    def read(self) -> bytes: ...


class PackedFrame:
    """A frame held as a PNG, or as the place where its PNG is stored; decoded whenever it is asked for.

    It is shared by all that shows the frame: observations of an episode and its branches, and examples.
    """

    __slots__ = ("_png",)

    def __init__(self, png: bytes | Stored):
        self._png = png

    @classmethod
    def of(cls, frame: np.ndarray) -> Self:
        """From (H, W, 3) uint8."""
        return cls(encode_png(frame))

    def png(self) -> bytes:
        """Raises what reading raises, where the PNG is stored elsewhere."""
        return self._png if isinstance(self._png, bytes) else self._png.read()

    def unpacked(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return decode_png(self.png())

    def height(self) -> int:
        """[px], from the header alone."""
        return int.from_bytes(self.png()[20:24], "big")

    def refer(self, stored: Stored) -> None:
        """Let go of the PNG: the same bytes are stored, and are read from there from now on."""
        self._png = stored


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

    def computed_key(self) -> bytes:
        """The key computed of what the observation shows, where `key` may be one that was stored beside it."""
        return self._key

    def packed_frames(self) -> tuple[PackedFrame, ...]:
        """The frames, to be kept."""
        return tuple(map(PackedFrame.of, self.frames))

    def last_frame(self) -> PackedFrame:
        """The latest frame, to be kept."""
        return PackedFrame.of(self.frames[-1])

    def pngs(self) -> tuple[bytes, ...]:
        """The frames, each as a PNG."""
        return tuple(frame.png() for frame in self.packed_frames())

    @property
    def n_frames(self) -> int:
        return len(self.frames)

    def packed(self) -> "PackedObservation":
        """The same, to be kept."""
        packed = PackedObservation.of(self.packed_frames(), self.instruction, self.proprioception)
        vars(packed)["_key"] = self._key
        return packed

    def since(self, first: "Observation") -> "PackedObservation":
        """This moment as the ending of an episode that began with `first`: the last frame of both, (2, H, W, 3).

        The first frame shows what is hidden in the last, such as the object under the gripper, or the pad under it.
        """
        frames = first.last_frame(), self.last_frame()
        return PackedObservation.of(frames, self.instruction, self.proprioception)


@dataclass(frozen=True)
class Withheld:
    """What a policy is kept from, to see what it does without. frames: it is shown grey ones. instructions: of the
    task's scenes; it is told one of them that is not its own, always the same in the place of the same."""

    frames: bool = False
    instructions: tuple[str, ...] = ()

    def seen(self, observation: Observation) -> Observation:
        """What is left of it."""
        frames, said = observation.frames, observation.instruction
        if self.frames:
            frames = np.full_like(frames, GREY)
        if others := [other for other in self.instructions if other != said]:
            said = others[crc32(said.encode()) % len(others)]
        return Observation(frames, said, observation.proprioception)


class PackedObservation(Observation):
    """An observation that holds its frames as PNGs, or refers to a file with them, and decodes them whenever asked.

    Thousands of observations are held in memory. As arrays, at 512 px, they take 0.8 MB a frame; as PNGs 7 to 180 KB;
    as references less than 1 KB.
    """

    def __init__(self, frames: np.ndarray, instruction: str, proprioception: str = ""):
        self._hold(map(PackedFrame.of, frames), instruction, proprioception)

    @classmethod
    def of(
        cls,
        frames: Iterable[PackedFrame | bytes],
        instruction: str,
        proprioception: str = "",
        key: bytes | None = None,
    ) -> Self:
        """From frames that are packed, or PNGs. key: of the same observation, as it was stored."""
        packed = cls.__new__(cls)
        packed._hold(frames, instruction, proprioception, key)
        return packed

    def _hold(
        self,
        frames: Iterable[PackedFrame | bytes],
        instruction: str,
        proprioception: str,
        key: bytes | None = None,
    ) -> None:
        held = tuple(PackedFrame(frame) if isinstance(frame, bytes) else frame for frame in frames)
        vars(self).update(_frames=held, instruction=instruction, proprioception=proprioception)  # it is frozen
        vars(self).update(_stored_key=key)

    def __repr__(self) -> str:
        return f"PackedObservation({self.n_frames} frames, {self.instruction!r}, {self.proprioception!r})"

    def key(self) -> bytes:
        return self._stored_key or self._key

    @property
    def frames(self) -> np.ndarray:
        return np.stack([frame.unpacked() for frame in self._frames])

    @property
    def n_frames(self) -> int:
        return len(self._frames)

    def packed_frames(self) -> tuple[PackedFrame, ...]:
        return self._frames

    def last_frame(self) -> PackedFrame:
        return self._frames[-1]

    def packed(self) -> "PackedObservation":
        return self


def encode_png(frame: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> PNG, without a loss."""
    return cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()


def decode_png(data: bytes) -> np.ndarray:
    """PNG -> (H, W, 3) uint8. Raises UserError for what is no PNG, and for one of more than MOST_PIXELS."""
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    decodable = data.startswith(b"\x89PNG") and 0 < width * height <= MOST_PIXELS
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if decodable else None
    if image is None:
        raise UserError(f"a frame is {data[:4]!r}, {width} x {height}; valid: a PNG of at most {MOST_PIXELS} pixels")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
