"""Question files: every layout is read into rows, and a bad row is named; solutions before the answer."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from shipped_questions import SHIPPED, SIZES

from agent.collect.rollout import rollout
from envs.errors import UserError
from envs.suites.questions.tasks import question_task
from envs.suites.questions.vqa_data import load
from policies.action_codec import codec_for
from policies.backends import nano
from policies.backends.huggingface import HFBackend
from policies.baselines import ExpertPolicy
from policies.mllm import MLLMPolicy


def picture(width=40, height=20, colour=(255, 0, 0)):
    return Image.new("RGB", (width, height), colour)


def put(folder, changes=None, place="images/train/1"):
    """Writes three multiple-choice questions, one a part, in ScienceQA's layout; `changes` go to the first."""
    told = {"question": "Which?", "choices": ["red", "blue"], "answer": 1, "hint": "Look.", "image": "image.png"}
    problems = {str(i + 1): told | {"split": part} for i, part in enumerate(("train", "val", "test"))}
    problems["1"] |= changes or {}
    for where in (place, "images/val/2", "images/test/3"):
        (folder / where).mkdir(parents=True)
        picture().save(folder / where / "image.png")
    (folder / "problems.json").write_text(json.dumps(problems))
    return str(folder)


@pytest.mark.parametrize("place", ["images/train/1", "train/1"])
def test_the_layout_of_scienceqa_is_read(tmp_path, place):
    rows = load(put(tmp_path, place=place), "choices")
    assert {split: len(some) for split, some in rows.items()} == dict.fromkeys(SIZES, 1)
    (row,) = rows["practice"]
    assert (row.choices, row.answer) == (("red", "blue"), 1)
    assert row.instruction == "Look. Which? (a) red (b) blue"


def test_a_picture_keeps_its_shape(tmp_path):
    (row,) = load(put(tmp_path), "choices")["practice"]
    seen = row.picture(16)
    assert seen.shape == (16, 16, 3)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen[4:12], np.broadcast_to([255, 0, 0], (8, 16, 3)))
    assert (seen[[0, 3, 12, 15]] == 255).all()  # white above and below


def test_a_question_of_text_alone_is_left_out(tmp_path):
    folder = put(tmp_path)
    problems = json.loads((tmp_path / "problems.json").read_text())
    problems["4"] = problems["1"] | {"image": None}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    assert len(load(folder, "choices")["practice"]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "lost.png"}, r"row '1' of '.*problems.json' names an image that is not there; valid: '.*/lost.png'"),
        ({"answer": 2}, "row '1' of .* has the answer 2; valid: 0 to 1"),
        ({"choices": ["red"]}, "row '1' of .* has 1 choices; valid: 2 to 26"),
        ({"question": None}, "row '1' of .* has no 'question'; valid: question, image"),
        ({"split": "minival"}, r"unknown split of row '1' .*, 'minival'.*valid: final, test, train, val, valid"),
        ({"split": "test", "image": None}, "no questions with a picture in part 'train'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load(put(tmp_path, changes), "choices")


def test_an_image_that_is_none_is_named(tmp_path):
    folder = put(tmp_path)
    (tmp_path / "images/train/1/image.png").write_text("no picture")
    with pytest.raises(UserError, match=r"the image of row '1' of .* cannot be read"):
        load(folder, "choices")["practice"][0].picture(8)


@pytest.mark.parametrize(
    ("answer", "message"), [("far", "'far' is no quantity"), ("3 parsec", "unknown unit 'parsec'")]
)
def test_a_free_answer_without_a_number_or_a_unit_is_named(tmp_path, answer, message):
    with pytest.raises(UserError, match=f"row '1' of .* has the answer '{answer}': {message}"):
        load(put(tmp_path, {"answer": answer}), "free")


def test_a_folder_without_questions_says_what_is_valid(tmp_path):
    with pytest.raises(UserError, match=r"no questions in '.*'; valid: a folder with problems.json, or what datasets"):
        load(str(tmp_path), "choices")
    with pytest.raises(UserError, match="unknown kind of answers 'letters'"):
        load(str(tmp_path), "letters")


def tables(image, extra=None):
    """A DatasetDict of three parts, each with one question with a picture and one without."""
    from datasets import Dataset, DatasetDict, Features, List, Value
    from datasets import Image as ImageColumn

    name = "images" if isinstance(image, list) else "image"
    kind = List(ImageColumn()) if isinstance(image, list) else ImageColumn()
    features = {"question": Value("string"), "choices": List(Value("string")), "answer": Value("int64"), name: kind}
    row = {"question": "Which?", "choices": ["red", "blue"], "answer": 1, name: image} | (extra or {})
    rows = [row, row | {name: None}]
    return DatasetDict({p: Dataset.from_list(rows, Features(features)) for p in ("train", "validation", "test")})


@pytest.mark.parametrize("image", [picture(), [picture(20), picture(20)]], ids=["image", "images"])
def test_what_datasets_saved_is_read(tmp_path, image):
    tables(image).save_to_disk(tmp_path / "saved")
    rows = load(str(tmp_path / "saved"), "choices")
    assert [len(some) for some in rows.values()] == [1, 1, 1]
    (row,) = rows["gate"]
    assert row.instruction == "Which? (a) red (b) blue"
    assert (row.picture(16)[8] == [255, 0, 0]).all()


def test_parquet_is_read(tmp_path):
    for part, rows in tables(picture()).items():
        rows.to_parquet(tmp_path / f"{part}-00000-of-00001.parquet")
    (row,) = load(str(tmp_path), "choices")["heldout"]
    assert (row.choices, row.answer) == (("red", "blue"), 1)
    assert (row.picture(16)[8] == [255, 0, 0]).all()


def test_a_table_without_a_column_or_an_image_is_named(tmp_path):
    tables(picture()).remove_columns("answer").save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"part 'train' of .* has no column answer; valid: question, image"):
        load(str(tmp_path / "saved"), "choices")
    lost = {"question": "Which?", "choices": ["red", "blue"], "answer": 1, "image": {"path": "lost.png", "bytes": None}}
    pq.write_table(pa.Table.from_pylist([lost]), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"row 0 of part 'train' of .* names an image that is not there; .*lost.png'"):
        load(str(tmp_path), "choices")


def test_an_answer_may_begin_with_the_solution(tmp_path):
    """The column `solution`, in one line. Practice asks only questions that have a solution."""
    folder = put(tmp_path, {"solution": "The picture is blue.\nSo it is blue."})
    problems = json.loads((tmp_path / "problems.json").read_text())
    problems["4"] = problems["1"] | {"solution": ""}
    shutil.copytree(tmp_path / "images/train/1", tmp_path / "images/train/4")
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    assert len(load(folder, "choices")["practice"]) == 2
    chosen = question_task("solved", folder, "choices", solutions=True)
    assert {"picture", "So"} <= set(chosen.language.words)
    codec, (played,) = codec_for(chosen), rollout(chosen, ExpertPolicy(chosen, codec_for(chosen)), [(0, 0)])
    assert played.steps[0].decision.answer == "The picture is blue. So it is blue.; answer b"
    assert played.success
    assert codec.decode("blue is blue.; answer b") == ("blue is blue.", 1)
    for answer in "answer b", "zoo; answer b", f"{'blue ' * 20}; answer b":
        with pytest.raises(UserError, match="does not parse"):
            codec.decode(answer)


@pytest.mark.parametrize("solved", [False, True])
def test_choices_are_read_without_a_word_of_which_is_right(solved):
    """One caption a choice, in the form of an answer, that does not say which is right. Free answers have none."""
    chosen = question_task("set", str(SHIPPED / "choices"), "choices", solutions=solved)
    env = chosen.make()
    env.reset(seed=0)
    row, asked = env.unwrapped.row, list(chosen.teacher.captions.ask(env, np.random.default_rng(0), 9, False))
    lettered = dict(zip("abcd", row.choices, strict=False))
    told = {f"{row.instruction}. say {choice}": f"{choice}; answer {letter}" for letter, choice in lettered.items()}
    assert len(asked) == len(row.choices)
    assert dict(asked) == told
    assert len(list(chosen.teacher.captions.ask(env, np.random.default_rng(0), 1, False))) == 1
    assert {"say", "answer", *lettered} <= set(chosen.language.words)
    env.close()
    assert question_task("set", str(SHIPPED / "free"), "free").teacher.captions is None


@pytest.mark.parametrize("solution", ["", "a-]^\\[é"])
def test_whatever_is_said_first_is_an_answer(tmp_path, solution):
    """Also from random weights sampled at a high temperature."""
    folder = put(tmp_path, {"solution": solution}) if solution else str(SHIPPED / "choices")
    chosen = question_task("solved", folder, "choices", solutions=True)
    codec, env = codec_for(chosen), chosen.make()
    env.reset(seed=0)
    seen = chosen.observe(env)
    env.close()
    policy = MLLMPolicy(HFBackend(*nano.build(("answer",), seed=0)), codec, temperature=2.0)
    decisions = policy.act([seen] * 16, [np.random.default_rng(i) for i in range(16)])
    assert {codec.decode(d.answer)[1] for d in decisions} == set(range(len(chosen.actions.names)))


def test_solutions_that_are_nowhere_are_missed(tmp_path):
    with pytest.raises(UserError, match="no questions with a picture and a solution in part 'train'"):
        load(put(tmp_path), "choices", solutions=True)
