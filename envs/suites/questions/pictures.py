"""A picture file from anywhere -> RGB as a viewer shows it, or one line that says what is wrong with it.

Nothing is decoded before its size is known: a header of 60 bytes may promise 10^9 pixels. Formats that call other
programs, as Pillow does for EPS, are not opened.
"""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from envs.errors import UserError, first_line, shown
from envs.validation import read_within

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MOST_PIXELS = 89_478_485  # of a picture, and of a row's pictures side by side: Pillow's own limit, as an error
MOST_BYTES = 2**28  # of a file
BACKGROUND = "white"
VALID = f"valid: {', '.join(FORMATS)} of at most {MOST_PIXELS:,} pixels"
# What Pillow's decoders raise for files that are damaged, cut, or made to do harm.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError),
    *(RuntimeError, NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError),
)


def decoded(encoded: bytes) -> Image.Image:
    """RGB, turned as its EXIF data says, 16 bits scaled to 8, on BACKGROUND where it is transparent.

    Raises UserError for what is no picture, is damaged, or has too many pixels.
    """
    try:
        image = opened(encoded)
        image.load()
        return _rgb(ImageOps.exif_transpose(image))
    except BROKEN as error:
        raise UserError(f"{_said(error)}; {VALID}") from error


def opened(encoded: bytes) -> Image.Image:
    """The picture with its size and mode, its pixels not decoded. Raises UserError for one that is too large."""
    if len(encoded) > MOST_BYTES:
        raise UserError(f"{len(encoded):,} bytes; valid: at most {MOST_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # below, it is an error
            image = Image.open(BytesIO(encoded), formats=FORMATS)
    except BROKEN as error:
        raise UserError(f"{_said(error)}; {VALID}") from error
    if image.width * image.height > MOST_PIXELS:
        raise UserError(f"{image.width} x {image.height} pixels; {VALID}")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would cut at 255
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError(f"grey values from {deep.min()} to {deep.max()}, which are neither of 8 nor of 16 bits")
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.mode in ("F", "LAB"):
        raise ValueError(f"pixels of mode {image.mode}, which viewers show differently")
    if image.mode in ("CMYK", "YCbCr", "HSV"):
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")


def _said(error: Exception) -> str:
    text = first_line(error)
    return "no picture" if "cannot identify image file" in text else text[:200]


def inside(folder: Path, place: Path) -> Path:
    """The place, which a file of the folder names. Raises UserError where it is outside, also through a link.

    In a hub's cache, a set's files are links to where the cache of that set keeps them.
    """
    caches = [parent for parent in folder.resolve().parents if parent.name.startswith("datasets--")]
    if not place.resolve().is_relative_to(caches[0] if caches else folder.resolve()):
        raise UserError(f"{shown(str(place))} is outside {str(folder)!r}; valid: a file in it")
    return place


def is_file(place: Path) -> bool:
    """Whether there is a file, not a folder, a pipe or a device, nor a name that no file can have."""
    try:
        return place.is_file()
    except OSError:  # a name that is too long, or a folder that may not be entered
        return False


def read(place: Path) -> bytes:
    """Raises UserError for a file that is too large or cannot be read."""
    return read_within(place, MOST_BYTES, repr(str(place)))
