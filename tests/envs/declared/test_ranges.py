"""Ranges that a file leaves out: measured once, written beside it, read from there, and part of the provenance."""

import json
from pathlib import Path

import numpy as np
import pytest

from agent.commands.setup.sees import Sees
from agent.record.provenance import check_words, declared_tasks
from envs.declared import declared, ranges, unseen
from envs.declared.measured import note
from envs.declared.measuring import form_for, measured, played
from envs.declared.numbers import Form, parts_of
from envs.errors import UserError
from envs.language import Bins, SignedLevels, Values, Whole
from envs.registry import task, wordless
from envs.validation import read

OPEN = """sees:
  ball: [observation.ball.0, info.ball_x]
  speed: [observation.rest.0]
  mark: [{of: info.score.marks.0, name: beat}, {of: info.score.marks.1, bins: 10}]
"""
RNG = np.random.default_rng(0)


def sees(path, **changes):
    Sees(path, **{"episodes": 6} | changes).run()
    return ranges.beside(Path(path))


def test_ranges_are_measured_into_a_file_and_read_from_it(declare, capsys):
    path = declare(OPEN)
    file = sees(path)
    assert capsys.readouterr().out == f"ranges   {file}\n"
    assert file.name == "task0.sees.yaml"
    kinds = declared(path).language.seen.parts
    assert kinds["ball"] == [Whole(0, 7), Whole(0, 7)]  # whole numbers of the space; of info, what was met
    assert isinstance(kinds["speed"][0], SignedLevels)
    assert kinds["speed"][0].high <= 2.1
    assert kinds["mark"][0] == Values((0.0, 0.5))
    assert (kinds["mark"][1].n, kinds["mark"][1].low) == (10, 0)
    assert "`mark`: beat (0 to 1 for 0, 0.5)" in declared(path).language.legend[2]


def test_the_same_ranges_are_measured_again(declare):
    path = declare(OPEN)
    first = sees(path).read_bytes()
    with pytest.raises(
        UserError, match=r"sees.yaml' exists, and policies may have been trained with it; valid: --over"
    ):
        sees(path)
    assert sees(path, overwrite=True).read_bytes() == first


def test_what_a_user_writes_into_the_file_counts(declare):
    path = declare(OPEN)
    file = sees(path)
    text = file.read_text()
    file.write_text(
        text.replace(text.split("speed:\n- ")[1].split("\n")[0], "{of: observation.rest.0, low: -3, high: 3, bins: 6}")
    )
    assert task(path).language.seen.parts["speed"] == [Bins(-3, 3, 6)]


def test_without_the_file_the_command_that_writes_it_is_named(declare):
    path = declare(OPEN)
    with pytest.raises(
        UserError, match=r"sees.ball.0 .observation.ball.0. without a range and no file 'task0.sees.yaml'"
    ):
        task(path)
    with pytest.raises(UserError, match=rf"valid: handeye sees {path}, or low and high"):
        task(path)
    assert wordless(path).language.thought_regex == ""  # for what needs no words


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (OPEN.replace("speed:", "pace:"), "has the parts ball, speed, mark, where the task sees ball, pace, mark"),
        (OPEN.replace("observation.rest.0", "observation.rest.1"), "has speed of observation.rest.0, where the task"),
        (OPEN.replace("bins: 10", "bins: 12"), "has bins 10 for info.score.marks.1, where the task has 12"),
        (OPEN.replace("bins: 10", "levels: 5"), "has no levels for info.score.marks.1, where the task has 5"),
    ],
)
def test_ranges_of_other_numbers_are_refused(declare, now, message):
    file = sees(declare(OPEN))
    path = declare(now)
    file.rename(ranges.beside(file.with_name(path.rpartition("/")[2])))
    with pytest.raises(UserError, match=rf"{message}.*; valid: handeye sees {path} --overwrite, or edit either file"):
        task(path)


def test_a_range_that_is_given_counts_beside_a_measured_one(declare):
    path = declare(OPEN)
    sees(path)
    given = Path(path).read_text().replace("[observation.rest.0]", "{of: observation.rest.0, low: 0, high: 1}")
    Path(path).write_text(given)
    assert task(path).language.seen.parts["speed"] == [Bins(0, 1, 32)]


def test_nothing_is_written_where_nothing_can_be(declare, tmp_path, monkeypatch, capsys):
    path = declare(OPEN)

    def refuse(*names):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("envs.declared.measured.os.replace", refuse)
    with pytest.raises(
        UserError, match=r"sees.yaml' cannot be written: Permission denied; valid: .*handeye sees .* --dry"
    ):
        sees(path)
    sees(path, dry=True)
    text = capsys.readouterr().out
    assert "ball:\n- {of: observation.ball.0, low: 0.0, high: 7.0, whole: true}" in text


def test_a_task_that_leaves_nothing_out_is_not_measured(declare):
    for text in ("", "sees: {ball: {of: observation.ball.0, low: 0, high: 8, bins: 8}}\n"):
        with pytest.raises(UserError, match="leaves no range to measure; valid: sees without low and high, or auto"):
            sees(declare(text))


def test_a_number_that_never_changes_is_named(declare):
    path = declare("kwargs: {dull: true}\nstill: true\nsees: {ball: [info.ball_x], goal: unwrapped.goal.where.1}\n")
    with pytest.raises(
        UserError, match=r"sees.goal.0 .unwrapped.goal.where.1. was 2.5 in all of play; valid: leave it"
    ):
        sees(path)


def test_measured_ranges_are_part_of_the_provenance(declare):
    path = declare(OPEN)
    assert "sees" not in declared_tasks([path])[path]
    file = sees(path)
    before = declared_tasks([path])[path]
    assert before["sees"]["content"] == read(file)
    file.write_text(file.read_text().replace("bins: 10", "bins: 11"))
    after = declared_tasks([path])[path]
    assert before["sha256"] == after["sha256"]
    assert before["sees"]["sha256"] != after["sees"]["sha256"]


@pytest.mark.parametrize("name", ["provenance.json", "pretrain.json"])
def test_a_policy_is_played_with_the_words_that_it_was_trained_with(declare, tmp_path, name):
    path, policy = declare(OPEN), tmp_path / "policy"
    file = sees(path)
    policy.mkdir()
    check_words(policy, [path])  # of which nothing is known
    record = {"tasks": declared_tasks([path, declare("")])}
    (policy / name).write_text(json.dumps(record if name == "provenance.json" else {"provenance": record}))
    check_words(policy, [path, "reach"])
    file.write_text("# A comment is no word.\n" + file.read_text())
    check_words(policy, [path])
    file.write_text(file.read_text().replace("bins: 10", "bins: 11"))
    with pytest.raises(UserError, match=r"task '.*' was trained with other state words .*; valid: as they were, or"):
        check_words(policy, [path])
    file.write_text(file.read_text().replace("bins: 11", "bins: 10"))
    note(path, levels=9, repeat=1)  # as they are without
    check_words(policy, [path])
    for key, what in (("levels", "levels"), ("repeat", "repeats")):
        note(path, **{"levels": 9, "repeat": 1} | {key: 3})
        with pytest.raises(UserError, match=rf"was trained with other {what} of its actions"):
            check_words(policy, [path])
    (policy / name).write_text("[]")
    with pytest.raises(UserError, match=rf"{name}' is no record of a training"):
        check_words(policy, [path])


def test_an_expert_takes_the_ranges_farther(declare):
    """The expert walks to the last column at once, along the first row."""
    chosen = unseen(declare("sees: {ball: info.ball_x, row: unwrapped.ball.1}\n"))
    parts = parts_of({"ball": "info.ball_x", "row": "unwrapped.ball.1"})
    (alone,), (both,) = (measured(chosen, parts, expert, 3)["ball"] for expert in (None, lambda env: 0))
    assert alone.quantisation.high < both.quantisation.high == 7
    seen = played(chosen, lambda env: env.unwrapped.ball[0], lambda env: 0, 3).samples
    assert list(seen) == ["random", "expert"]
    assert max(seen["expert"]) == 7


@pytest.mark.parametrize(
    ("numbers", "given", "kind"),
    [
        (RNG.integers(0, 9, 500), {}, Whole(0, 8)),
        (RNG.integers(-3, 2, 500), {}, Whole(-3, 1)),
        (RNG.integers(0, 900, 500), {}, Bins),
        (RNG.integers(0, 9, 500), {"bins": 3}, Bins),
        (RNG.choice([0.1, 0.25], 500), {}, Values((0.1, 0.25))),
        (RNG.normal(0, 1, 5000), {}, SignedLevels),
        (RNG.normal(0, 1, 5000), {"signed": False}, Bins),
        (RNG.normal(0, 1, 5000), {"bins": 8}, Bins),
        (RNG.uniform(1, 2, 5000), {}, Bins(0.99, 2.01, 32)),
        (RNG.uniform(1, 2, 5000), {"signed": True, "levels": 4}, SignedLevels(2.0, 4)),
        (np.array([*RNG.uniform(0, 1, 5000), 1e9]), {}, Bins),
    ],
)
def test_the_form_follows_from_what_was_met(numbers, given, kind):
    form = form_for([numbers], Form(**given))
    found = form.quantisation()
    if isinstance(kind, type):
        assert isinstance(found, kind)
        middle = np.quantile(numbers, [0.01, 0.99])
        low = found.low if kind is Bins else -found.high
        assert low <= middle[0] < middle[1] <= found.high < 2 * np.abs(middle).max() + 1  # outliers are left out
    else:
        assert type(found) is type(kind)
        np.testing.assert_allclose(np.hstack(list(found)), np.hstack(list(kind)), atol=0.02)


def test_words_of_what_a_mujoco_picture_shows_to_move(reacher):
    """Reacher: its two links, the tip and the dot move; the board does not."""
    path = reacher("sees: auto\n")
    with pytest.raises(UserError, match=r"sees: auto and no file 'task0.sees.yaml' beside it; valid: handeye sees"):
        task(path)
    sees(path)
    chosen = task(path)
    assert set(chosen.language.seen.parts) == {"fingertip", "target", "body0", "body1"}
    env = chosen.make()
    env.reset(seed=0)
    caption = next(iter(chosen.teacher.captions.ask(env, RNG, 1, False)))[1]
    assert chosen.language.seen.parse(caption).keys() == {"fingertip", "target", "body0", "body1"}
    assert all(len(numbers) == 2 for numbers in chosen.language.seen.parts.values())  # on a table, depth tells nothing


def test_auto_is_for_mujoco(declare):
    with pytest.raises(UserError, match=r"sees: auto needs MuJoCo, and .* has none; valid: parts under sees"):
        sees(declare("sees: auto\n"))


def test_a_part_that_moves_one_way_has_one_number(declare):
    """The cart on its rail, and the pole's middle above it."""
    path = declare(
        "sees: auto\n", "id: InvertedPendulum-v5\ninstruction: balance\nsuccess: {of: return, at_least: 9}\n"
    )
    sees(path)
    parts = task(path).language.parts
    assert [str(number.source) for number in parts["cart"]] == ["body.cart.column"]
    assert str(parts["pole"][0].source) == "body.pole.column"
