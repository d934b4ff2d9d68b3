"""The frames of an episode as one WebP image, a tile for each step, within a budget.

Simulated frames are flat and repeat: as lossless WebP they take less than as JPEG or video, and show each pixel that
the policy saw. Frames of a camera take less with a loss, and a sprite says so.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from agent.organise.episode import Episode
from envs.errors import UserError

SIDE = 256  # [px] of a frame's longer side in a sprite, at most
MOST_PX = 16383  # of a side of a WebP image
WIDTH_PX = 4096  # of a sprite, about
QUALITY = 80
FLAT = 0.25  # bytes a pixel: below, it stays lossless
LOSSLESS = 2.0  # times as many bytes as with a loss, at most


@dataclass(frozen=True)
class Sprite:
    """image: WebP. width, height: [px] of a tile, which holds all frames of an observation side by side. stride: every
    how many steps has a tile."""

    image: bytes
    width: int
    height: int
    columns: int
    stride: int
    lossless: bool
    scaled: bool


def sprites(episodes: Iterable[tuple[int, Episode]], budget: int) -> dict[int, Sprite]:
    """Number of an episode -> its sprite, in this order, as long as the sum of their bytes is within the budget."""
    found, left = {}, budget
    for number, episode in episodes:
        if left <= 0:
            break
        sprite = encode(episode)
        if sprite and len(sprite.image) <= left:
            found[number] = sprite
            left -= len(sprite.image)
    return found


def encode(episode: Episode) -> Sprite | None:
    """None for an episode without frames, or whose frames cannot be read."""
    try:
        shown = [step.observation.frames for step in episode.steps]
        last = episode.final_frame
    except UserError:
        return None
    if last is not None:
        shown.append(last[None])
    if not shown:
        return None
    scale = min(1.0, SIDE / max(shown[0].shape[1:3]))
    at_once = max(len(frames) for frames in shown)
    tiles = [_tile(frames, at_once, scale) for frames in shown]
    height, width = tiles[0].shape[:2]
    columns = max(1, min(len(tiles), WIDTH_PX // width))
    stride = -(-len(tiles) // (columns * (MOST_PX // height)))
    sheet = _sheet(tiles[::stride], columns)
    image, lossless = _webp(sheet)
    return Sprite(image, width, height, columns, stride, lossless, scale < 1)


def _tile(frames: np.ndarray, at_once: int, scale: float) -> np.ndarray:
    """(T, H, W, 3) -> (h, at_once * w, 3), the latest frame on the right."""
    if scale < 1:
        size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
        frames = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    blank = np.zeros((at_once - len(frames), *frames.shape[1:]), np.uint8)
    return np.concatenate([*blank, *frames], axis=1)


def _sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    height, width = tiles[0].shape[:2]
    sheet = np.zeros((-(-len(tiles) // columns) * height, columns * width, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _webp(sheet: np.ndarray) -> tuple[bytes, bool]:
    """The image, and whether it is lossless."""
    image, file = Image.fromarray(sheet), io.BytesIO()
    image.save(file, "webp", lossless=True, method=2)
    exact = file.getvalue()
    if len(exact) <= FLAT * image.width * image.height:
        return exact, True
    file = io.BytesIO()
    image.save(file, "webp", quality=QUALITY, method=2)
    lossy = file.getvalue()
    return (exact, True) if len(exact) <= LOSSLESS * len(lossy) else (lossy, False)
