"""Grammars in words, and texts drawn from them."""

import re

import numpy as np
import pytest

from envs.errors import UserError
from envs.registry import TASKS
from policies.forms import draw, in_words

WORDS = {
    "move (left|right)": "move <left|right>",
    r"move (\-1|\+0|\+1) (\-1|\+0|\+1)": "move <-1..+1> <-1..+1>",
    "way [+-](0|1|2|3) x": "way <-3..+3> x",
    "at (0|1|2|3)": "at <0..3>",
    "at (0|1)": "at <0|1>",
    "at (0|2|4)": "at <0|2|4>",
    "(; (down|up))?; go": "[; <down|up>]; go",
    r"-?\d{1,4}(\.\d{2})? m/s\^2": "[-]<1 to 4 digits>[.<2 digits>] m/s^2",
    "[a-z ]{1,30}; (yes|no)": "<1 to 30 characters>; <yes|no>",
    r"[\]x]": "<]|x>",
    "a|b c": "<a|b c>",
}


@pytest.mark.parametrize(("regex", "words"), WORDS.items())
def test_a_grammar_is_said_in_words_and_drawn_from(regex, words):
    assert in_words(regex) == words
    rng = np.random.default_rng(0)
    drawn = [draw(regex, rng) for _ in range(50)]
    assert all(re.fullmatch(regex, text) for text in drawn)
    assert len(set(drawn)) > 1


@pytest.mark.parametrize("name", ["reach", "push", "place", "reacher", "frozen-lake"])
def test_texts_of_a_language_are_drawn_evenly(name):
    regex, rng = TASKS[name].language.thought_regex, np.random.default_rng(0)
    drawn = [draw(regex, rng) for _ in range(200)]
    assert all(re.fullmatch(regex, text) for text in drawn)
    assert len(set(drawn)) > 190
    TASKS[name].language.parse(drawn[0])


@pytest.mark.parametrize("regex", ["a.*", "[^a]", r"\w+", "a)b"])
def test_a_grammar_beyond_words_is_named(regex):
    with pytest.raises(UserError, match="grammar"):
        in_words(regex)
