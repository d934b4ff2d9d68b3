"""Pictures as environments give them are converted rightly at one place, or refused in one line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from envs.errors import UserError
from envs.foreign.frames import FrameReader
from envs.observation import decode_png

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
RGB[0, 0], RGB[0, 1] = 0, 255
GREY = np.repeat(RGB[:, :, :1], 3, axis=2)
CLEAR = np.dstack([RGB, np.full(RGB.shape[:2], 7, np.uint8)])


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (RGB, RGB),
        (CLEAR, RGB),
        (RGB[:, :, 0], GREY),
        (RGB[:, :, :1], GREY),
        (RGB.transpose(2, 0, 1), RGB),
        (CLEAR.transpose(2, 0, 1), RGB),
        (RGB[:, :, 0][None], GREY),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB.astype(np.float64) / 255, RGB),
        (RGB.astype(np.float16), RGB),
        (RGB.astype(np.float64), RGB),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(">u2"), RGB),
        (RGB.astype(np.int8).clip(0), RGB.astype(np.int8).clip(0)),
        (RGB > 127, (RGB > 127) * np.uint8(255)),
        (RGB[:, ::-1][:, ::-1], RGB),
        (np.asfortranarray(RGB), RGB),
        ([RGB, GREY], GREY),
        ((RGB,), RGB),
        (RGB.view(np.ma.MaskedArray), RGB),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(CLEAR, "RGBA"), RGB),
        (Image.fromarray(GREY).convert("L"), GREY),
    ],
)
def test_a_picture_is_converted(picture, expected):
    frame = FrameReader().read(picture)
    np.testing.assert_array_equal(frame, expected)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (None, "gave NoneType"),
        ("picture", "gave str"),
        ([], "gave a list without a picture"),
        ([None], "gave a list without a picture"),
        (RGB.tolist()[0], "gave a list without a picture"),
        (RGB[:0], r"shape \(0, 20, 3\)"),
        (RGB[0, 0], r"shape \(3,\)"),
        (np.uint8(3), r"shape \(\)"),
        (RGB[None], r"shape \(1, 12, 20, 3\)"),
        (RGB[:, :, :2], r"shape \(12, 20, 2\)"),
        (np.zeros((16, 16, 16), np.uint8), r"shape \(16, 16, 16\)"),
        (RGB.astype(np.int64) - 1, "int64 from -1 to 254"),
        (RGB.astype(np.uint16) * 257, "uint16 from 0 to 65535"),
        (RGB / 255 * 2 - 1, "floats from -1 to 1"),
        (RGB / 255 * 1.5, "floats from 0 to 1.5; valid: 0 to 1, or 0 to 255"),
        (RGB * 257.0, "floats from 0 to 65535"),
        (np.full((4, 4, 3), np.nan), "not finite"),
        (np.full((4, 4, 3), np.inf), "not finite"),
        (RGB.astype(complex), "an array of complex128"),
        (RGB.astype(object), "an array of object"),
        (RGB.astype(str), "an array of <U"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(picture, message):
    with pytest.raises(UserError, match=rf"render\(\) gave .*{message}|{message}"):
        FrameReader().read(picture)


def test_a_dark_picture_of_floats_is_read_as_those_before():
    dark = np.full((4, 4, 3), 1.0)
    assert FrameReader().read(dark).max() == 255
    for reader in (FrameReader(255.0), FrameReader()):
        reader.read(RGB.astype(float))
        assert reader.read(dark).max() == 1
    reader = FrameReader()
    assert reader.read(np.zeros((4, 4, 3))).max() == 0
    assert reader.read(RGB.astype(float)).max() == 255  # black had not told
    reader = FrameReader()
    reader.read(RGB / 255)
    with pytest.raises(UserError, match="floats from 0 to 255; valid: 0 to 1, as its pictures before"):
        reader.read(RGB.astype(float))


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        [
            arrays(kind, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
            for kind in (np.uint8, np.int16, np.float32, np.float64, bool)
        ]
    )
)
def test_any_array_is_a_frame_or_refused(array):
    try:
        frame = FrameReader().read(array)
    except UserError:
        return
    assert (frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3)
    assert frame.size >= array.size * 3 // 4


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.astype(np.float32) / 255,
        lambda p: p.astype(np.int64),
        lambda p: p.transpose(2, 0, 1),
        lambda p: np.dstack([p, p[:, :, 0]]),
        lambda p: [p],
    ],
)
def test_what_is_stored_is_what_was_seen(odd, change):
    """Each odd picture of a state is the frame that the plain one is, through the task and as a PNG."""
    plain, strange = odd().make(), odd(picture=change).make()
    for env in (plain, strange):
        env.reset(seed=3)
        env.step(1)
    seen = [odd().observe(env) for env in (plain, strange)]
    np.testing.assert_array_equal(seen[0].frames, seen[1].frames)
    np.testing.assert_array_equal(decode_png(seen[1].packed().pngs()[0]), seen[0].frames[0])


@pytest.mark.parametrize("change", [lambda p: None, lambda p: p[:0], lambda p: p[0, 0], lambda p: p / 170])
def test_a_task_whose_pictures_are_none_is_not_made(odd, change):
    with pytest.raises(UserError, match=r"task 'odd': render\(\) gave "):
        odd(picture=change).make()
