"""The questions that ship: no part repeats another, and nothing but the picture gives an answer away."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from shipped_questions import KINDS, SHIPPED, SIZES

from agent.measure.statistics import rate
from envs.errors import UserError
from envs.suites.questions import units as quantities
from envs.suites.questions.scenes import LENGTHS, write
from envs.suites.questions.vqa_data import Row, load
from envs.suites.tabletop.words import BIN_WIDTH


def scene(row: Row) -> bytes:
    return row.picture(64).tobytes()


@pytest.mark.parametrize("answers", KINDS)
def test_no_question_is_in_two_parts(answers):
    rows = load(str(SHIPPED / answers), answers)
    assert {split: len(some) for split, some in rows.items()} == SIZES
    every = [(row.instruction, scene(row)) for some in rows.values() for row in some]
    assert len(set(every)) == 100


def sort(row: Row) -> str:
    """The kind of a question: its first two words, which hold no names."""
    return " ".join(row.question.split()[:2])


def test_letters_and_answers_tell_nothing_without_the_picture(tmp_path):
    """Neither the right letters' frequencies, nor the answers', nor the answers' given the choices beat chance."""
    write(tmp_path / "questions", {"train": 300, "val": 5, "test": 150}, seed=3)
    rows = load(str(tmp_path / "questions" / "choices"), "choices")
    for some in rows["practice"], rows["heldout"], load(str(SHIPPED / "choices"), "choices")["practice"]:
        counted = defaultdict(Counter)
        for row in some:
            counted[sort(row)][row.answer] += 1
        assert all(max(c.values()) - min(c.values()) <= 1 for c in counted.values()), counted
        assert {len(c) for c in counted.values()} == {3, 4}
    right, shown = defaultdict(Counter), defaultdict(Counter)
    for row in rows["practice"]:
        right[sort(row)][row.choices[row.answer]] += 1
        shown[sort(row)].update(row.choices)
    guessed = [
        max(row.choices, key=lambda c: right[sort(row)][c] / max(1, shown[sort(row)][c])) == row.choices[row.answer]
        for row in rows["heldout"]
    ]
    chance = np.mean([1 / len(row.choices) for row in rows["heldout"]])
    assert rate(guessed)["ci95"][0] < chance < rate(guessed)["ci95"][1]


@pytest.mark.parametrize("answers", KINDS)
def test_a_solution_leads_to_the_answer(answers):
    """Its last part is the right choice, or the vector whose length is the answer, to the width of a bin."""
    for row in (row for some in load(str(SHIPPED / answers), answers).values() for row in some):
        last = row.solution.split("; ")[-1]
        if answers == "choices":
            assert last == row.choices[row.answer]
        else:
            way = 100 * BIN_WIDTH * np.hypot(*map(int, last.split()[-2:]))
            assert abs(way - quantities.split(row.answer)[0]) < 100 * BIN_WIDTH * 2**0.5


def test_no_length_is_frequent(tmp_path):
    write(tmp_path / "questions", {"train": 84, "val": 5, "test": 5}, seed=3)
    lengths = Counter(row.answer for row in load(str(tmp_path / "questions" / "free"), "free")["practice"])
    assert set(lengths) == {f"{n} cm" for n in LENGTHS}
    assert max(lengths.values()) <= 4  # of 84, as many as all others


def test_the_same_seed_writes_what_ships(tmp_path):
    write(tmp_path / "again", {"train": 60, "val": 20, "test": 20}, seed=0)
    for path in sorted(SHIPPED.rglob("problems.json")):
        assert path.read_text() == (tmp_path / "again" / path.relative_to(SHIPPED)).read_text()
    with pytest.raises(UserError, match="exists; valid: one that does not"):
        write(tmp_path / "again", {"train": 1, "val": 1, "test": 1}, seed=0)
