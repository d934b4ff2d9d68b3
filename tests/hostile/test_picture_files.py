"""A picture from anywhere is decoded as a viewer shows it, or its file and row are named, nothing large allocated."""

import struct
import zlib
from itertools import count

import cv2
import numpy as np
import pytest
from PIL import Image
from question_files import RED, png, put, refusal

from envs.suites.questions import pictures
from envs.suites.questions.pictures import decoded


def bomb(width, height):
    """A PNG's header that promises so many pixels, and no more of them than fit into 60 bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (bomb(31623, 31623), "pixels"),
        (bomb(9460, 9459), "9460 x 9459 pixels"),
        (bomb(2**31 - 1, 1), "pixels"),
        (b"", "no picture"),
        (b"<!DOCTYPE html><title>404</title>", "no picture"),
        (png(Image.effect_noise((64, 64), 50))[:-600], "truncated"),
        (png(format="jpeg")[:-60], "runcated"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "no picture"),
        (png(Image.new("F", (4, 4)), format="tiff"), "pixels of mode F"),
        (png(Image.new("LAB", (4, 4)), format="tiff"), "pixels of mode LAB"),
    ],
    ids=map(str, count()),
)
def test_a_picture_that_is_none_or_too_large_is_named(tmp_path, content, told):
    message = refusal(put(tmp_path, content))
    assert f"the image of row '1' of {str(tmp_path / 'problems.json')!r} cannot be read: '" in message
    assert "images/train/1/image.png': " in message
    assert told in message


def test_pictures_that_are_too_large_beside_each_other_are_named(tmp_path):
    """A wide one is scaled to the height of a high one: 60,000 x 2 px and 2 x 60,000 px are 10^14 pixels."""
    folder = put(tmp_path, png(Image.new("1", (60_000, 2))), row={"image": ["image.png", "high.png"]})
    (tmp_path / "images/train/1/high.png").write_bytes(png(Image.new("1", (2, 60_000))))
    assert "pixels side by side; valid: at most 89,478,485" in refusal(folder)


def test_the_size_of_a_file_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 700)
    assert "has more than 700 bytes" in refusal(put(tmp_path, png() + b"\0" * 700))


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    image = Image.new("RGB", (4, 2), RED)
    image.paste((0, 0, 255), (2, 0, 4, 2))
    return png(image, exif=exif)


def deep(channels):
    """Red of 16 bits, or grey of them, as OpenCV writes it."""
    values = np.zeros((2, 4, channels), np.uint16)
    values[..., -1 if channels < 4 else 2] = 65535 if channels > 1 else 32896
    if channels == 4:
        values[..., 3] = 65535
    return cv2.imencode(".png", values)[1].tobytes()


def palette(**arguments):
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, *RED])
    return png(image, **arguments)


@pytest.mark.parametrize(
    ("content", "size", "pixel"),
    [
        (png(), (4, 2), RED),
        (turned(), (2, 4), RED),
        (deep(1), (4, 2), (128, 128, 128)),
        (deep(3), (4, 2), RED),
        (deep(4), (4, 2), RED),
        (palette(), (4, 2), RED),
        (palette(transparency=1), (4, 2), (255, 255, 255)),
        (png(Image.new("RGBA", (4, 2), (255, 0, 0, 0))), (4, 2), (255, 255, 255)),
        (png(Image.new("RGBA", (4, 2), (255, 0, 0, 51))), (4, 2), (255, 204, 204)),
        (png(Image.new("LA", (4, 2), (0, 255))), (4, 2), (0, 0, 0)),
        (png(Image.new("L", (4, 2), 7)), (4, 2), (7, 7, 7)),
        (png(Image.new("1", (4, 2), 1)), (4, 2), (255, 255, 255)),
        (png(Image.new("CMYK", (4, 2), (0, 255, 255, 0)), format="tiff"), (4, 2), RED),
        (png(Image.new("CMYK", (4, 2), (0, 255, 255, 0)), format="jpeg", quality=100), (4, 2), (254, 0, 0)),
        (png(format="gif"), (4, 2), RED),
        (png(format="bmp"), (4, 2), RED),
        (png(format="webp", lossless=True), (4, 2), RED),
    ],
    ids=map(str, count()),
)
def test_a_picture_is_decoded_as_a_viewer_shows_it(content, size, pixel):
    image = decoded(content)
    assert (image.mode, image.size) == ("RGB", size)
    np.testing.assert_allclose(image.getpixel((0, 0)), pixel, atol=1)
