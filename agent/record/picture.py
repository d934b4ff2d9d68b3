"""Episodes as one picture, a strip of moments for each policy, or as a GIF that moves.

Both are cropped to what there is to see: what changes in the course of the episodes, and what stands out from the most
frequent colour, such as that of a table. Where that is everywhere, nothing is cropped.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from agent.record.video import Shots

SIZE = 720  # [px] of a view, before it is cropped
MOMENTS = 6  # of a strip
FRAMES, SECONDS = 120, 15.0  # of a GIF, at most
FRAME_S, LAST_S = 1.0, 3.0  # a frame is shown, at most; the last one
STANDS_OUT = 24  # levels of 255, in one channel
MARGIN = 0.04  # of a view's side, around what there is to see
WIDEST, HIGHEST = 1400, 340  # [px] of a row; of a view in it
GAP, BORDER, TEXT = 8, 4, 18  # [px]; TEXT: of letters
INK, GREY, FRAME = (20, 20, 20), (110, 110, 110), (200, 200, 200)
BEGIN, SUCCESS, FAILURE = (60, 100, 200), (20, 130, 60), (190, 50, 30)  # frames of the first and of the last moment
COLOURS = 96  # of a GIF


def content(films: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns of what there is to see, with a margin. films: views of one camera, (n, height, width, 3) uint8
    each."""
    first = films[0][0]
    brightest = np.max([views.max(axis=0) for views in films], axis=0)
    darkest = np.min([views.min(axis=0) for views in films], axis=0)
    colours, counts = np.unique(first.reshape(-1, 3) // 8, axis=0, return_counts=True)
    background = colours[counts.argmax()].astype(int) * 8 + 4
    seen = (brightest - darkest > STANDS_OUT) | (np.abs(first - background) > STANDS_OUT)
    rows, columns = (np.flatnonzero(seen.any(axis=(axis, 2))) for axis in (1, 0))
    if not len(rows):
        return slice(None), slice(None)
    margin = round(MARGIN * max(first.shape))
    return tuple(slice(max(0, int(at[0]) - margin), int(at[-1]) + 1 + margin) for at in (rows, columns))


def strip(films: Sequence[Shots], names: Sequence[str]) -> Image.Image:
    """A row of moments for each film under its name; the first and the last are framed."""
    rows, columns = content([film.views for film in films])
    height, width = films[0].views[0, rows, columns].shape[:2]
    most = max(len(film.views) for film in films)
    scale = min((WIDEST - GAP * (most + 1)) / (most * width), HIGHEST / height)
    size = (round(scale * width), round(scale * height))
    line = round(1.5 * TEXT)
    row = 2 * line + size[1] + GAP
    canvas = Image.new("RGB", (most * (size[0] + GAP) + GAP, GAP + line + row * len(films)), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), _fitting(films[0].instruction, canvas.width), INK, _font())
    for i, (film, name) in enumerate(zip(films, names, strict=True)):
        top = GAP + line + i * row
        pen.text((GAP, top), _fitting(f"{name}: {_ended(film)}", canvas.width), _colour(film), _font())
        for j, (view, step) in enumerate(zip(film.views, film.steps, strict=True)):
            place = (GAP + j * (size[0] + GAP), top + line)
            canvas.paste(Image.fromarray(view[rows, columns]).resize(size, Image.Resampling.LANCZOS), place)
            is_first, is_last = j == 0, j == len(film.views) - 1
            colour = BEGIN if is_first else _colour(film) if is_last else FRAME
            box = (*place, place[0] + size[0] - 1, place[1] + size[1] - 1)
            pen.rectangle(box, outline=colour, width=BORDER if is_first or is_last else 1)
            says = "start" if is_first else f"end, step {step}" if is_last else f"step {step}"
            pen.text((place[0], place[1] + size[1] + 2), says, INK if is_first or is_last else GREY, _font(0.8))
    return canvas


def moving(films: Sequence[Shots], names: Sequence[str]) -> tuple[list[Image.Image], list[int]]:
    """The frames of a GIF, and how long each is shown [ms]: the films one above the other, the view beside what the
    policy saw, under what it says there."""
    rows, columns = content([film.views for film in films])
    height, width = films[0].views[0, rows, columns].shape[:2]
    high = min(HIGHEST, round(0.45 * WIDEST * height / width))
    size = (round(width * high / height), high)
    line = round(1.5 * TEXT)
    row = 2 * line + high + GAP
    shape = (size[0] + high + 3 * GAP, GAP + line + row * len(films))
    frames = []
    for moment in range(max(len(film.views) for film in films)):
        canvas = Image.new("RGB", shape, "white")
        pen = ImageDraw.Draw(canvas)
        pen.text((GAP, GAP), _fitting(films[0].instruction, shape[0]), INK, _font())
        for i, (film, name) in enumerate(zip(films, names, strict=True)):
            top, at = GAP + line + i * row, min(moment, len(film.views) - 1)
            is_last = at == len(film.views) - 1
            colour = _colour(film) if is_last else INK
            said = _ended(film) if is_last else f"step {film.steps[at]}: {film.said[at]}"
            pen.text((GAP, top), _fitting(name, shape[0]), colour, _font())
            pen.text((GAP, top + line), _fitting(said, shape[0], 0.8), colour, _font(0.8))
            view = Image.fromarray(film.views[at][rows, columns]).resize(size, Image.Resampling.LANCZOS)
            observed = Image.fromarray(film.observed[at]).resize((high, high), Image.Resampling.NEAREST)
            for picture, left in ((view, GAP), (observed, size[0] + 2 * GAP)):
                canvas.paste(picture, (left, top + 2 * line))
        frames.append(canvas)
    each = min(FRAME_S, (SECONDS - LAST_S) / max(1, len(frames) - 1))
    return frames, [*[round(1000 * each)] * (len(frames) - 1), round(1000 * LAST_S)]


def write(path: Path, films: Sequence[Shots], names: Sequence[str]) -> None:
    """Write a .png (`strip`) or a .gif (`moving`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        strip(films, names).save(path, optimize=True)
        return
    frames, shown = moving(films, names)
    few = frames[len(frames) // 2].quantize(COLOURS, dither=Image.Dither.NONE)  # one palette: still parts stay still
    first, *others = (frame.quantize(palette=few, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=shown, loop=0, optimize=True)


def _ended(film: Shots) -> str:
    return f"{film.said[-1]} after {film.steps[-1]} steps"


def _colour(film: Shots) -> tuple[int, int, int]:
    return SUCCESS if film.success else FAILURE


def _font(scale: float = 1.0) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(round(scale * TEXT))


def _fitting(text: str, width: int, scale: float = 1.0) -> str:
    """The text, cut off where it is wider than a picture [px]."""
    font = _font(scale)
    if font.getlength(text) <= width - 2 * GAP:
        return text
    while text and font.getlength(f"{text} ...") > width - 2 * GAP:
        text = text[:-1]
    return f"{text} ..."
