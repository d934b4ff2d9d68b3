"""The forms of `sees`: what is given, what is refused, and that words of any declared parts are parsed back."""

import re

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.declared.language import legend
from envs.declared.numbers import Entry, parts_of
from envs.declared.ranges import text_of
from envs.errors import UserError
from envs.language import Bins, SignedLevels, StateWords, Values, Whole
from envs.registry import task


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("low: -2.4, high: 2.4, bins: 8", Bins(-2.4, 2.4, 8)),
        ("low: 0, high: 1", Bins(0, 1, 32)),
        ("high: 2.0, levels: 8, signed: true", SignedLevels(2.0, 8)),
        ("high: 2.0, levels: 8", SignedLevels(2.0, 8)),
        ("high: 2.0, signed: true", SignedLevels(2.0, 16)),
        ("low: -1, high: 3, whole: true", Whole(-1, 3)),
        ("values: [0.5, 1, 4]", Values((0.5, 1.0, 4.0))),
        ("angle: true", Bins(-np.pi, np.pi, 32)),
        ("angle: true, signed: true, levels: 12", SignedLevels(np.pi, 12)),
        ("signed: true", None),
        ("bins: 4", None),
        ("signed: false", None),
        ("unit: m", None),
    ],
)
def test_a_number_has_one_of_four_forms(form, kind):
    (number,) = parts_of({"part": yaml.safe_load(f"{{of: observation.0, {form}}}")})["part"]
    assert number.quantisation == kind


@pytest.mark.parametrize(
    ("sees", "message"),
    [
        ("{}", "sees = {}; valid: parts, such as"),
        ("[observation.0]", "valid: parts, such as .*, or auto"),
        ("{left-arm: observation.0}", "has a part 'left-arm'; valid: one word of letters, digits and _"),
        ("{1: observation.0}", "has a part 1; valid: one word"),
        ("{arm: []}", "sees.arm has no numbers"),
        ("{arm: [observation.0, 7]}", "sees.arm.1: 7; valid: a source, as observation.0"),
        ("{arm: body}", "sees.arm.0: 'body' is not complete; valid: observation.0, info.KEY"),
        ("{arm: observation..1}", r"sees.arm.0: path 'observation..1' cannot be read at '..1'"),
        ("{arm: 'observation[:2]'}", "does not say how many numbers it is; valid: both ends, such as 0:2"),
        ("{arm: 'observation.2:2'}", "'observation.2:2' has no number; valid: one, such as 0:2 for two"),
        ("{arm: 'observation.0:2.0:2'}", "has several slices"),
        ("{arm: 'observation.0:99999999'}", "has 99999999 numbers; valid: at most 64"),
        ("{arm: body.hand}", "'body.hand' is no place of a body; valid: body.NAME.x, "),
        ("{arm: body.hand.w}", "is no place of a body; valid: body.hand.x, body.hand.y, .*body.hand.depth"),
        ("{arm: joint.elbow.qpos.x}", "is no number of a joint; valid: joint.NAME"),
        (
            "{arm: {low: 0, high: 1}}",
            "sees.arm.0: no source is given; valid: of, such as observation.0, .* or one of body, site",
        ),
        ("{arm: {body: hand, site: tip}}", "body and site are given"),
        (
            "{arm: {of: observation.0, lo: 1}}",
            "sees.arm.0: unknown config key 'lo' .did you mean 'low'.*; valid: low, .*in all",
        ),
        ("{arm: {of: observation.0, bins: 0}}", "sees.arm.0: config key 'bins' = 0"),
        ("{arm: {of: observation.0, low: 1}}", "low is given without high"),
        ("{arm: {of: observation.0, high: 1}}", "high is given without low; valid: both, neither, or high with signed"),
        ("{arm: {of: observation.0, low: 1, high: 1}}", "low = 1, high = 1; valid: low below high"),
        ("{arm: {of: observation.0, high: -1, signed: true}}", "valid for levels: high alone, above 0"),
        ("{arm: {of: observation.0, low: -1, high: 1, levels: 3}}", "valid for levels: high alone"),
        ("{arm: {of: observation.0, bins: 4, levels: 3}}", "bins and levels are given; valid: one of"),
        ("{arm: {of: observation.0, bins: 4, signed: true}}", "a signed number has levels"),
        ("{arm: {of: observation.0, values: [2, 1]}}", "values = .2.0, 1.0.; valid: different numbers"),
        ("{arm: {of: observation.0, values: [1, 2], high: 1}}", "values and a range are given"),
        ("{arm: {of: observation.0, whole: true, low: 0, high: 1.5}}", "whole, low = 0, high = 1.5"),
        ("{arm: {of: observation.0, missing: 1, angle: true}}", "has a number for where it is missing; valid: of info"),
        ("{arm: {body: hand, of: x, camera: top}}", "has a camera; valid: leave it out"),
    ],
)
def test_what_cannot_be_is_refused_with_its_part(declare, sees, message):
    path = declare(f"sees: {sees}\n")
    with pytest.raises(UserError, match=message) as error:
        task(path)
    assert str(error.value).startswith(f"task {path!r}: ")
    assert "\n" not in str(error.value)


KEYS = st.sampled_from(sorted(Entry.__dataclass_fields__))
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["observation.0", "of"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | KEYS | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(ODD)
def test_any_value_is_taken_or_refused_in_one_line(value):
    messages = []
    for sees in (value, {"arm": value}, {"arm": {"of": "observation.0", "high": value}}, {"arm": {"of": value}}):
        try:
            assert parts_of(sees)
        except UserError as error:
            messages.append(str(error))
    assert all("sees" in message and len(message) < 3000 and "\n" not in message for message in messages)


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
FLOATS = st.floats(-1e4, 1e4).map(lambda x: float(f"{x:.4g}"))
RANGES = st.tuples(FLOATS, FLOATS).filter(lambda pair: pair[1] - pair[0] > 1e-2)
COUNTS = st.integers(1, 64)
FORMS = st.one_of(
    st.builds(lambda ends, n: {"low": ends[0], "high": ends[1], "bins": n}, RANGES, COUNTS),
    st.builds(lambda high, n: {"high": high, "levels": n, "signed": True}, st.floats(0.01, 1e3), COUNTS),
    st.builds(lambda low, n: {"low": low, "high": low + n, "whole": True}, st.integers(-40, 40), COUNTS),
    st.lists(FLOATS, min_size=2, max_size=6, unique=True).map(lambda values: {"values": sorted(values)}),
    st.builds(lambda n: {"angle": True, "bins": n}, COUNTS),
)
SOURCES = st.sampled_from(
    ["observation.0", "info.a.1", "unwrapped.b", "info['a b'][0]", "body.hand.x", "site.a.b.row", "joint.c.qvel.2"]
)
ENTRIES = st.builds(
    lambda of, form, unit: {"of": of} | form | ({"unit": unit} if unit else {}),
    SOURCES,
    FORMS,
    st.sampled_from(["", "m/s", "#1: é"]),
)
PARTS = st.dictionaries(NAMES, st.lists(ENTRIES, min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(PARTS, st.lists(FLOATS, min_size=12, max_size=12))
def test_words_of_any_parts_are_parsed_back(sees, numbers):
    """What is said of any numbers is in the grammar and in the vocabulary, and each word is that of its number."""
    parts = parts_of(sees)
    kinds = {name: [number.quantisation for number in each] for name, each in parts.items()}
    words = StateWords(kinds, lambda env: {name: numbers[: len(each)] for name, each in kinds.items()})
    text = words.of(None)
    assert re.fullmatch(words.regex, text, re.ASCII)
    assert words.say(words.parse(text)) == text
    assert set(text.replace(";", "").split()) <= set(words.words)
    for name, levels in words.parse(text).items():
        assert list(levels) == [kind.level(x) for kind, x in zip(kinds[name], numbers[: len(levels)], strict=True)]
    assert len(legend(parts)) == len(parts)


@settings(max_examples=60, deadline=None)
@given(PARTS)
def test_a_file_of_ranges_says_what_it_was_written_from(sees):
    parts = parts_of(sees)
    assert parts_of(yaml.safe_load(text_of(parts, "of a test"))) == parts


def test_a_level_is_the_nearest_of_few_values_and_of_whole_numbers():
    assert [Values((0.0, 0.5, 4.0)).word(x) for x in (-9, 0.2, 0.3, 3, 9)] == ["0", "0", "1", "2", "2"]
    assert [Whole(-2, 2).word(x) for x in (-9, -1, 0, 1.6, 9)] == ["-2", "-1", "+0", "+2", "+2"]
    assert [Whole(2, 4).word(x) for x in (0, 3, 9)] == ["2", "3", "4"]


def test_a_legend_is_added_to_that_of_the_file(declare):
    text = "legend: [The ball is red.]\nsees: {ball: [{of: info.ball_x, whole: true, low: 0, high: 7, name: column}]}\n"
    assert task(declare(text)).language.legend == ("The ball is red.", "`ball`: column (0 to 7).")
