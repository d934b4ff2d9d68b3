"""A set of questions from anywhere: what is wrong with a row or a file is named, before anything starts."""

import os
import shutil
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from question_files import PARTS, ROW, png, put, refusal

from envs.declared import declared
from envs.suites.questions import layouts
from envs.suites.questions.vqa_data import load


# rows ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": 5}, "question = 5; valid: text"),
        ({"question": "x" * 20_001}, "question of 20,001 characters"),
        ({"question": "half \ud800"}, "half of a character"),
        ({"hint": ["a"]}, "hint = ['a']; valid: text"),
        ({"solution": {"a": 1}}, "solution = {'a': 1}; valid: text"),
        ({"choices": ["red", None]}, "choices[1] = None; valid: text"),
        ({"choices": "ab"}, "choices = 'ab'; valid: 2 to 26"),
        ({"answer": True}, "the answer True; valid: 0 to 1"),
        ({"answer": [0]}, "the answer [0]; valid: 0 to 1"),
        ({"answer": -1}, "the answer -1; valid: 0 to 1"),
        ({"answer": 0.5}, "the answer 0.5; valid: 0 to 1"),
        ({"image": 5}, "image = 5; valid: a file's name"),
        ({"image": ["image.png", None]}, "image = ['image.png', None]"),
        ({"split": ["train"]}, "unknown split"),
        (None, "is None; valid: question, image"),
        ([], "is []"),
        ("row", "is 'row'"),
    ],
    ids=map(str, count()),
)
def test_a_row_of_another_schema_is_named(tmp_path, row, told):
    message = refusal(put(tmp_path, row=row))
    assert f"row '1' of {str(tmp_path / 'problems.json')!r}" in message
    assert told in message


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("٣ m", "is no quantity"),
        ("3 m^٣", "unknown unit"),
        ("1e999 m", "a finite number"),
        (float("nan"), "'nan' is no quantity"),
        ("1." + "0" * 50, "at most 40 characters"),
        ("1 " + "m*" * 15 + "m", "22 of them the unit's"),
        (None, "has no 'answer'"),
        ([1], "the answer [1]"),
    ],
    ids=map(str, count()),
)
def test_a_free_answer_that_cannot_be_said_is_named(tmp_path, answer, told):
    assert told in refusal(put(tmp_path, row={"answer": answer}), "free")


# files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (lambda text: text.replace("red", "grün").encode("latin-1"), "is not UTF-8: byte 0xfc"),
        (lambda text: text.encode("utf-16"), "is not UTF-8"),
        (lambda text: text[:-9], "is not JSON"),
        (lambda text: "", "is not JSON"),
        (lambda text: "<!DOCTYPE html><title>404</title>", "is not JSON"),
        (lambda text: "[" * 100_000, "is not JSON"),
        (lambda text: '{"a": ' * 100_000, "is not JSON"),
        (lambda text: text.replace('"answer": 1', '"answer": ' + "1" * 5000), "is not JSON"),
        (lambda text: text.replace('"2"', '"1"'), "key '1' is given twice"),
        (lambda text: text.replace('"hint"', '"answer"', 1), "key 'answer' is given twice"),
        (lambda text: f"[{text}]", "holds a list; valid: as ScienceQA has it"),
        (lambda text: "null", "holds a NoneType"),
    ],
    ids=map(str, count()),
)
def test_a_problems_file_that_is_none_is_named(tmp_path, text, told):
    message = refusal(put(tmp_path, text=text))
    assert repr(str(tmp_path / "problems.json")) in message
    assert told in message


@pytest.mark.parametrize("image", ["../" * 9 + "../etc/passwd", "/etc/passwd", "../../../../x"])
def test_a_path_out_of_the_set_is_refused(tmp_path, image):
    (tmp_path / "x").write_bytes(png())
    message = refusal(put(tmp_path / "set", row={"image": image}))
    assert "row '1'" in message
    assert "names an image that is not in its set: " in message


def test_a_row_whose_name_leads_out_of_the_set_is_refused(tmp_path):
    (tmp_path / "image.png").write_bytes(png())
    folder = put(tmp_path / "set", text=lambda text: text.replace('"1"', '"../../.."'))
    assert "names an image that is not in its set" in refusal(folder)


@pytest.mark.parametrize("kind", ["link", "linked folder", "pipe", "device", "loop", "long", "null"])
def test_what_is_no_file_of_the_set_is_refused(tmp_path, kind):
    folder = Path(put(tmp_path / "set", row={"image": {"long": "x" * 300, "null": "a\0b"}.get(kind, "image.png")}))
    place = folder / "images/train/1/image.png"
    (tmp_path / "image.png").write_bytes(png())
    if kind == "linked folder":
        shutil.rmtree(place.parent)
        place.parent.symlink_to(tmp_path)
    elif kind in ("link", "loop", "device"):
        place.unlink()
        place.symlink_to({"link": tmp_path / "image.png", "loop": place, "device": "/dev/zero"}[kind])
    elif kind == "pipe":
        place.unlink()
        os.mkfifo(place)  # reading it would wait for ever
    assert "row '1'" in refusal(folder)


def test_the_links_of_a_hubs_cache_are_followed(tmp_path):
    """A snapshot there is links to blobs beside it."""
    cache = tmp_path / "datasets--owner--set"
    folder = Path(put(cache / "snapshots" / "1"))
    blobs = cache / "blobs"
    blobs.mkdir()
    for i, place in enumerate([*folder.rglob("*.png")]):
        place.rename(blobs / str(i))
        place.symlink_to(blobs / str(i))
    assert len(load(str(folder), "choices")["practice"]) == 1


def tables(folder):
    """As `put`, in Parquet, its pictures within."""
    for part in PARTS.values():
        rows = [{k: v for k, v in ROW.items() if k != "image"} | {"image": {"bytes": png(), "path": None}}] * 3
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{part}.parquet")
    return folder / "train.parquet"


@pytest.mark.parametrize("damage", ["cut", "html", "empty", "folder", "zeros", "link"])
def test_a_damaged_table_is_named(tmp_path, damage):
    (tmp_path / "set").mkdir()
    path = tables(tmp_path / "set")
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "link":
        (tmp_path / "x").write_bytes(whole)
        path.symlink_to(tmp_path / "x")
    else:
        middle = len(whole) // 2
        zeros = whole[:middle] + b"\0" * 40 + whole[middle + 40 :]
        path.write_bytes({"cut": whole[:-9], "html": b"<!DOCTYPE html>", "empty": b"", "zeros": zeros}[damage])
    assert repr(str(path)) in refusal(path.parent)


def test_a_table_that_grows_when_it_is_unpacked_is_refused(tmp_path, monkeypatch):
    """A picture of 1 MB is in the file once, and a thousand times in the table: a gigabyte."""
    path = tables(tmp_path)
    row = {k: v for k, v in ROW.items() if k != "image"} | {"image": {"bytes": b"\0" * 2**20, "path": None}}
    table = pa.Table.from_pylist([row]).take([0] * 200)
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 2**20
    monkeypatch.setattr(layouts, "MOST_TABLE_BYTES", 2**27)
    assert "unpacked it has more than 134,217,728 bytes" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("image", [1, 2], "has image of type int64"),
        ("image", [{"bytes": "text", "path": "x"}] * 2, "has image of type struct"),
        ("image", [[{"bytes": png(), "path": None}, None]] * 2, "null among its images"),
        ("image", ["../../x"] * 2, "names an image that is not"),
        ("question", [1, 2], "question = 1; valid: text"),
        ("choices", [{"a": 1}] * 2, "choices = {'a': 1}"),
        ("answer", ["one", "two"], "the answer 'one'"),
    ],
    ids=map(str, count()),
)
def test_a_column_of_another_kind_is_named(tmp_path, column, values, told):
    path = tables(tmp_path)
    rows = pq.read_table(path).to_pylist()[:2]
    changed = pa.Table.from_pylist([row | {column: value} for row, value in zip(rows, values, strict=True)])
    pq.write_table(changed, path)
    message = refusal(tmp_path)
    assert "part 'train'" in message
    assert told in message


def test_what_datasets_saved_is_read_whole_or_named(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = [{k: v for k, v in ROW.items() if k != "image"} | {"image": "image.png"}]
    DatasetDict({part: Dataset.from_list(rows) for part in PARTS.values()}).save_to_disk(tmp_path / "set")
    (tmp_path / "set" / "image.png").write_bytes(png())
    for number, name in enumerate(("*.arrow", "state.json", "dataset_info.json", "../dataset_dict.json")):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "set", folder)
        (path,) = (folder / "train").glob(name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert repr(str(folder)) in refusal(folder)
    assert len(load(str(tmp_path / "set"), "choices")["practice"]) == 1


def test_questions_lie_beside_the_file_that_declares_them(tmp_path, monkeypatch):
    put(tmp_path / "beside" / "set")
    (tmp_path / "beside" / "task.yaml").write_text("questions: set\n")
    monkeypatch.chdir(tmp_path)
    assert declared("beside/task.yaml").suite == "questions"
