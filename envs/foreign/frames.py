"""What `render()` gives in the wild -> (H, W, 3) uint8: the one place where pictures of others are converted.

Grey, RGBA (its alpha is dropped), channels first, whole numbers, truth values, floats from 0 to 1 or from 0 to 255, an
image of PIL, and the last of a list of pictures are converted. Everything else is refused.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from envs.errors import UserError
from envs.observation import MOST_PIXELS

VALID = "valid: an environment whose rgb_array is (H, W, 3) uint8"
CHANNELS = (1, 3, 4)
UNIT, BYTE = 1.0, 255.0  # white, of pictures in floats
ROUNDING = 1e-3  # by which floats may lie outside of their range


@dataclass
class FrameReader:
    """Reads the pictures of one environment.

    white: of pictures in floats, 1 or 255, found by the first that is not dark: a picture whose numbers are all at most
    1 is dark if white is 255, and bright if it is 1. None as long as that is not known.
    """

    white: float | None = None

    def read(self, given: Any) -> np.ndarray:
        """(H, W, 3) uint8. Raises UserError for what is no picture, naming what it is."""
        picture = _array(given)
        if picture.dtype == np.uint8:
            return _channels_last(picture)
        return _channels_last(self._bytes(picture))

    def _bytes(self, picture: np.ndarray) -> np.ndarray:
        if picture.dtype == bool:
            return picture.astype(np.uint8) * np.uint8(BYTE)
        low, high = picture.min(), picture.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UserError(f"render() gave numbers that are not finite; {VALID}")
        if np.issubdtype(picture.dtype, np.integer):
            if low < 0 or high > BYTE:
                raise UserError(f"render() gave {picture.dtype} from {low} to {high}; {VALID}")
            return picture.astype(np.uint8)
        return self._of_floats(picture.astype(np.float64), float(low), float(high))

    def _of_floats(self, picture: np.ndarray, low: float, high: float) -> np.ndarray:
        white = self.white or (UNIT if high <= UNIT + ROUNDING else BYTE)
        is_unclear = self.white is None and UNIT + ROUNDING < high < 2 * UNIT  # too large for 1, and dark for 255
        if low < -ROUNDING * white or high > white * (1 + ROUNDING) or is_unclear:
            wanted = f"0 to {white:g}, as its pictures before" if self.white else "0 to 1, or 0 to 255"
            raise UserError(f"render() gave floats from {low:g} to {high:g}; valid: {wanted}")
        if high > 0:
            self.white = white
        return np.rint(np.clip(picture * (BYTE / white), 0, BYTE)).astype(np.uint8)


def scaled(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3), each side by itself."""
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def squared(picture: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3): the picture as a whole, scaled by its longer side, between black bars."""
    height, width = (max(1, round(side * size / max(picture.shape[:2]))) for side in picture.shape[:2])
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = scaled(picture, height, width)
    return square


def _array(given: Any) -> np.ndarray:
    """The picture as an array of numbers, not empty."""
    if isinstance(given, (list, tuple)):
        if not given or np.ndim(given[-1]) < 2:
            raise UserError(f"render() gave a {type(given).__name__} without a picture; {VALID}")
        given = given[-1]
    if hasattr(given, "convert") and hasattr(given, "mode"):  # PIL's; a palette is no picture before it is converted
        given = given.convert("RGB")
    if given is None or not (hasattr(given, "__array__") or hasattr(given, "__array_interface__")):
        raise UserError(f"render() gave {type(given).__name__}; {VALID}")
    picture = np.asarray(given)
    if picture.dtype.kind not in "buif":
        raise UserError(f"render() gave an array of {picture.dtype}; {VALID}")
    if picture.size == 0 or picture.size > 4 * MOST_PIXELS:
        raise UserError(f"render() gave an array of shape {picture.shape}; {VALID}")
    return picture


def _channels_last(picture: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1), (H, W, 4) and their kin with channels first -> contiguous (H, W, 3)."""
    shape = picture.shape
    if picture.ndim == 2:
        picture = picture[:, :, None]
    elif picture.ndim == 3 and shape[2] not in CHANNELS and shape[0] in CHANNELS:
        picture = picture.transpose(1, 2, 0)
    if picture.ndim != 3 or picture.shape[2] not in CHANNELS:
        raise UserError(f"render() gave an array of shape {shape}; {VALID}")
    if picture.shape[2] == 1:
        picture = np.repeat(picture, 3, axis=2)
    return np.ascontiguousarray(picture[:, :, :3])
