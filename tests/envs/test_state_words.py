"""State words: numbers of a state as text, parsed back, and asked about."""

import numpy as np
import pytest

from envs.errors import UserError
from envs.language import Bins, SignedLevels, StateLanguage, StateWords
from envs.registry import TASKS


@pytest.mark.parametrize(("number", "word"), [(-9, "0"), (-1, "0"), (-0.51, "0"), (-0.49, "1"), (0.99, "3"), (7, "3")])
def test_a_number_is_one_of_n_bins(number, word):
    assert Bins(-1, 1, 4).word(number) == word


@pytest.mark.parametrize(("number", "word"), [(0, "+0"), (0.4, "+1"), (-0.4, "-1"), (0.2, "+0"), (2, "+2"), (-9, "-2")])
def test_a_number_is_signed_levels_from_zero(number, word):
    assert SignedLevels(1.0, 2).word(number) == word
    assert word in SignedLevels(1.0, 2).words


@pytest.fixture
def pole():
    return StateWords({"pole": (Bins(-1, 1, 4), SignedLevels(1.0, 2)), "cart": (Bins(0, 4, 4),)}, lambda env: env)


def test_parts_are_told_in_order(pole):
    assert pole.of({"cart": [2.5], "pole": [0.1, -1]}) == "pole 2 -2; cart 2"
    assert set(pole.words) == {"pole", "cart", *"0123", "-2", "-1", "+0", "+1", "+2"}


def test_questions_are_about_the_whole_and_different_parts(pole):
    asked = list(StateLanguage("", pole).captions({"cart": [2.5], "pole": [0.1, -1]}, np.random.default_rng(0), 3))
    assert asked[0] == ("describe", "pole 2 -2; cart 2")
    assert sorted(asked[1:]) == [("where is the cart", "cart 2"), ("where is the pole", "pole 2 -2")]


def test_numbers_that_are_not_there_are_an_error(pole):
    with pytest.raises(ValueError, match="zip"):
        pole.of({"cart": [2.5, 1], "pole": [0.1, -1]})


def test_state_words_are_parsed_and_said(pole):
    assert pole.parse("pole 2 -2; cart 2") == {"pole": (2, -2), "cart": (2,)}
    assert pole.say({"cart": (2,), "pole": (2, -2)}) == "pole 2 -2; cart 2"
    with pytest.raises(UserError, match=r"state 'pole 9 -2; cart 2' does not parse; valid: pole \(0"):
        pole.parse("pole 9 -2; cart 2")


def test_what_the_robot_knows_of_itself_is_part_of_a_question(pole):
    language = StateLanguage("balance it", pole, StateWords({"cart": (Bins(0, 4, 4),)}, lambda env: env))
    state = {"cart": [2.5], "pole": [0.1, -1]}
    assert next(language.captions(state, np.random.default_rng(0), 1, False))[0] == "describe. cart 2"
    assert language.proprioception(state) == "cart 2"
    assert {"balance", "it", "cart"} <= set(language.words)


def test_a_lake_tells_the_player_and_the_holes_of_each_row():
    task = TASKS["frozen-lake"]
    env = task.make()
    for seed in range(5):
        env.reset(seed=seed)
        elf, holes = task.teacher.thought(env).split("; ")
        desc = env.unwrapped.desc
        rows = [[(int(row) >> column) & 1 for column in range(4)] for row in holes.split()[1:]]
        np.testing.assert_array_equal(rows, desc == b"H")
        assert elf == "elf 0 0"
    env.close()


def test_several_cameras_are_several_frames():
    task = TASKS["inverted-pendulum"]
    near = {"lookat": (0, 0, 0.3), "distance": 1.0, "azimuth": 90.0, "elevation": -10.0}
    both = task.with_env(cameras=(near, *task.env.cameras))
    one, two = task.make(), both.make()
    one.reset(seed=0), two.reset(seed=0)
    frames, single = both.observe(two).frames, task.observe(one).frames
    assert frames.shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(frames[1::2], single)
    assert (frames[0] != frames[1]).any()
    np.testing.assert_array_equal(two.render(), frames[-1])
    one.close(), two.close()
