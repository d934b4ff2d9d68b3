"""A small set of questions, to be spoilt, and how it is refused."""

import io
import json

import pytest
from PIL import Image

from envs.errors import UserError
from envs.suites.questions.vqa_data import load

RED = (255, 0, 0)
ROW = {"question": "Which?", "choices": ["red", "blue"], "answer": 1, "hint": "", "image": "image.png"}
PARTS = {"1": "train", "2": "val", "3": "test"}


def png(image=None, **arguments):
    stream = io.BytesIO()
    (image or Image.new("RGB", (4, 2), RED)).save(stream, arguments.pop("format", "png"), **arguments)
    return stream.getvalue()


def put(folder, content=None, row=(), text=str.encode):
    """Three questions in ScienceQA's layout. content: of the first one's picture. row: changes to its record, or what
    stands in its place. text: the JSON -> the bytes of its file."""
    problems = {name: ROW | {"split": part} for name, part in PARTS.items()}
    problems["1"] = problems["1"] | dict(row) if isinstance(row, dict | tuple) else row
    for name, part in PARTS.items():
        place = folder / "images" / part / name
        place.mkdir(parents=True)
        (place / "image.png").write_bytes(png() if content is None or name != "1" else content)
    written = text(json.dumps(problems))
    (folder / "problems.json").write_bytes(written if isinstance(written, bytes) else written.encode())
    return str(folder)


def refusal(folder, answers="choices"):
    with pytest.raises(UserError) as error:
        load(str(folder), answers)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1500
    return message
