"""Actions of several parts: as words, compared, stored, and played through the loop's own parts."""

import re

import gymnasium as gym
import numpy as np
import pytest
import xgrammar
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st
from xgrammar.testing import _is_grammar_accept_string

from envs.errors import UserError
from envs.foreign.actions import key, restored, same, stored
from envs.foreign.spaces import bounded, measured
from envs.task import ActionWords
from policies.action_codec import StructuredCodec, _action_codec
from policies.baselines import RandomPolicy, ZeroPolicy
from policies.forms import draw, in_words

GAME = Dict({"camera": Box(-10, 10, (2,), np.float32), "fire": Discrete(2), "keys": MultiBinary(2)})


def codec_of(space, names=(), levels=5):
    return _action_codec(space, ActionWords(levels, names))


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (MultiDiscrete([2, 3]), "move 1 2"),
        (MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [7, 0]]), "move 1 2 3 4"),
        (MultiBinary(3), "move 1 0 1"),
        (MultiBinary((2, 2)), "move 1 0 1 1"),
        (GAME, "move camera +1 -2 fire 1 keys 0 1"),
        (Tuple((Discrete(3, start=5), Box(0, 1, (1, 2), np.float64))), "move 2 +0 -2"),
        (Dict({"arm": Dict({"grip": Discrete(2), "lift": Discrete(3)}), "left leg": Discrete(2)}),
         "move arm grip 1 lift 2 left_leg 0"),
    ],
)  # fmt: skip
def test_an_action_of_several_parts_is_several_words(space, text):
    codec = codec_of(space)
    action = codec.decode(text)
    assert space.contains(action)
    assert codec.encode(action) == text
    assert {*text.split()} <= {*codec.vocabulary}


def test_a_part_keeps_its_shape_and_dtype():
    action = codec_of(GAME).decode("move camera +1 -2 fire 1 keys 0 1")
    np.testing.assert_array_equal(action["camera"], np.float32([5, -10]))
    assert [np.asarray(part).dtype for part in action.values()] == [np.float32, np.int64, np.int8]


def test_axes_may_be_named():
    codec = codec_of(MultiBinary(2), ("left", "turn right"))
    assert codec.encode(np.array([1, 0], np.int8)) == "move left 1 turn_right 0"
    with pytest.raises(UserError, match=r"actions left of MultiBinary.2.; valid: 2 different names, one for each axis"):
        codec_of(MultiBinary(2), ("left",))
    with pytest.raises(UserError, match="valid: none, its parts have names"):
        codec_of(GAME, ("left", "right", "fire"))


@pytest.mark.parametrize(
    "text", ["move", "move 1", "move 1 3", "move 1 2 0", "move 1  2", "1 2", "move 1 2 ", "move +1 2", "move 1 ٢"]
)
def test_what_is_no_action_is_refused(text):
    with pytest.raises(UserError, match=r"does not parse; valid: move \(0\|1\) \(0\|1\|2\)$"):
        codec_of(MultiDiscrete([2, 3])).decode(text)


def test_an_action_out_of_the_space_is_refused():
    with pytest.raises(UserError, match="action 'move 1 7' does not parse"):
        codec_of(MultiDiscrete([2, 3])).encode(np.array([1, 7]))


def test_a_key_that_an_answer_cannot_hold_is_refused():
    with pytest.raises(UserError, match="action name ''"):
        codec_of(Dict({"": Discrete(2)}))


def test_the_better_of_two_actions_is_the_same_or_another():
    codec = codec_of(GAME)
    one, two = "move camera +1 -2 fire 1 keys 0 1", "move camera +1 -2 fire 0 keys 0 1"
    assert codec.instead(one, one) == f"{one} same"
    assert codec.instead(one, two) == f"{two} other"
    assert re.fullmatch(codec.instead_regex, codec.instead(one, two))
    assert codec.n == 2


def leaf():
    sizes = st.integers(1, 4)
    box = st.builds(
        lambda low, span, shape, kind: Box(np.full(shape, low, kind), np.full(shape, low + span, kind), shape, kind),
        st.integers(0, 100), st.integers(0, 27), st.sampled_from([(1,), (3,), (2, 2), ()]),
        st.sampled_from([np.float16, np.float32, np.float64, np.uint8, np.int64]),
    )  # fmt: skip
    discrete = st.builds(Discrete, sizes, start=st.integers(-9, 9))
    return st.one_of(
        box, discrete, st.lists(sizes, min_size=1, max_size=3).map(MultiDiscrete),
        st.sampled_from([MultiBinary(1), MultiBinary(4), MultiBinary((2, 2))]),
        st.just(MultiDiscrete([[2, 1], [3, 2]], np.int32, start=[[1, 2], [3, 4]])),
    )  # fmt: skip


KEYS = st.sampled_from(["a", "b c", "x|y", "(", "+1", "0", "é", "\\d", "camera"])
SPACES = st.recursive(
    leaf(),
    lambda inner: st.one_of(
        st.dictionaries(KEYS, inner, min_size=1, max_size=3).map(Dict),
        st.lists(inner, min_size=1, max_size=3).map(Tuple),
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(SPACES, st.sampled_from([3, 5, 9]), st.integers(0, 2**32 - 1))
def test_actions_of_any_nested_space_make_the_round_trip(space, levels, seed):
    codec, rng = codec_of(space, levels=levels), np.random.default_rng(seed)
    grammar = xgrammar.Grammar.from_regex(codec.regex)
    decided = [policy.act([None], [rng])[0].action for policy in (ZeroPolicy(space), RandomPolicy(space))]
    for action in decided:
        assert space.contains(action)
        text = codec.encode(action)
        assert _is_grammar_accept_string(grammar, text)
        assert space.contains(codec.decode(text))
        kept = restored(stored(action))
        assert same(kept, action)
        assert key(kept) == key(action)
    drawn = draw(codec.regex, rng)  # whatever the grammar says is an action of the space, which can be said again
    action = codec.decode(drawn)
    assert space.contains(action)
    assert same(codec.decode(codec.encode(action)), action)
    assert in_words(codec.regex).startswith("move")
    for wrong in (f"{drawn} 0", drawn.removesuffix(drawn.split()[-1]), drawn + "9"):
        parses = re.fullmatch(codec.regex, wrong, flags=re.ASCII) is not None
        assert _is_grammar_accept_string(grammar, wrong) == parses
        if not parses:
            with pytest.raises(UserError):
                codec.decode(wrong)


def test_distinct_actions_have_distinct_keys():
    space = Dict({"a": MultiBinary(2), "b": Tuple((Discrete(2), Box(-1, 1, (1,), np.float64)))})
    codec = StructuredCodec(space, 3)
    texts = {draw(codec.regex, np.random.default_rng(seed)) for seed in range(300)}
    assert len(texts) == 24
    assert len({key(codec.decode(text)) for text in texts}) == 24


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (np.float32([0.1, -0.5]), "[0.10000000149011612, -0.5]"),  # as files of earlier versions hold it
        (np.int64(3), "3"),
        (np.str_("9.81 m/s^2"), '"9.81 m/s^2"'),
        (np.float64([0.1]), '{"float64": [0.1]}'),
        (np.int64([3, -1]), '{"int64": [3, -1]}'),
        (np.array(0.5, np.float32), '{"float32": 0.5}'),
        (np.int8([[1], [0]]), '{"int8": [[1], [0]]}'),
        ({"a": np.int64(1), "b": (np.float32([1]),)}, '{"dict": [["a", 1], ["b", {"tuple": [[1.0]]}]]}'),
    ],
)
def test_an_action_is_stored_in_its_own_dtype(action, text):
    assert stored(action) == text
    again = restored(text)
    assert same(again, action)
    assert type(again) is type(action)
    assert getattr(again, "dtype", None) == getattr(action, "dtype", None)


@pytest.mark.parametrize(
    "text",
    ['{"object": [1]}', '{"uint8": [300]}', '{"float64": [[1], [1, 2]]}', '{"float64": ["a"]}', "null", "{}", "1.5",
     '{"dict": [1]}', '{"dict": {"a": 1}}', '{"<f8": [1]}', '{"float64": [1], "int8": [1]}', "[", '{"tuple": [null]}'],
)  # fmt: skip
def test_what_is_no_stored_action_is_refused(text):
    with pytest.raises((ValueError, KeyError, TypeError)):
        restored(text)


INF = np.inf


def test_boxes_without_bounds_are_given_some():
    assert bounded(Box(-INF, INF, (2,)), [-1, 2]) == Box(-1, 2, (2,))
    assert bounded(Box(-INF, INF, (2, 1)), [[-1, 2], [0, 3]]) == Box(
        np.float32([[-1], [0]]), np.float32([[2], [3]]), (2, 1)
    )
    mixed = Dict({"a": Box(-INF, INF, (1,)), "b": Tuple((Box(-1, 1, (1,)), Box(0, INF, (1,)))), "c": Discrete(2)})
    assert bounded(mixed, [0, 4])["b"] == Tuple((Box(-1, 1, (1,)), Box(0, 4, (1,))))
    named = bounded(mixed, {"a": [-3, 3], "b": {1: [0, 9]}})
    assert (named["a"], named["b"][1]) == (Box(-3, 3, (1,)), Box(0, 9, (1,)))
    assert bounded(Box(0, 255, (2,), np.uint8), [10.5, 20.5]) == Box(11, 20, (2,), np.uint8)


def test_bounds_are_measured_from_actions():
    space = Dict(
        {"a": Box(-INF, INF, (2, 1), np.float64), "b": Tuple((Discrete(2), Box(0, INF, (1,)))), "c": Box(0, 1)}
    )
    actions = [
        {"a": np.array([[x], [-x]]), "b": (np.int64(1), np.float32([x + 1])), "c": np.float32([0])} for x in (0.5, 2.0)
    ]
    bounds = measured(space, actions)
    assert bounds == {"a": [[0.5, 2.0], [-2.0, -0.5]], "b": {"1": [[1.5, 3.0]]}}
    assert bounded(space, bounds)["a"].high.tolist() == [[2.0], [-0.5]]
    assert measured(GAME, []) is None
    with pytest.raises(UserError, match=r"no action to measure the bounds of Box.*; valid: bounds: \[low, high\]"):
        measured(Box(-INF, INF), [])
    with pytest.raises(UserError, match=r"axis 1 of Box.* is 3 in all 2 actions"):
        measured(Box(-INF, INF, (2,)), [np.array([1, 3]), np.array([2, 3])])


@pytest.mark.parametrize(
    ("space", "bounds", "said"),
    [
        (Box(-INF, INF, (2,)), [1, -1], "low no more than high"),
        (Box(-INF, INF, (2,)), [-INF, 1], "bounds = .*; valid"),
        (Box(0, INF, (2,)), [-1, 1], "within Box"),
        (Box(-INF, INF, (2,)), [[0, 1]], "or 2 of these"),
        (Box(-INF, INF, (2,)), "wide", "bounds = 'wide'"),
        (Box(-INF, INF, (2,)), {"a": [0, 1]}, r"valid: \[low, high\]"),
        (Discrete(2), [0, 1], "valid: bounds of a Box"),
        (Dict({"a": Box(-INF, INF)}), {"b": [0, 1]}, "unknown part bounds of the actions 'b'; valid: a"),
        (Dict({"a": Box(-INF, INF)}), {"a": [0, 1, 2]}, "bounds.a = "),
        (GAME, [0, 1], "each Box of Dict.* has its own; valid: by key"),
    ],
)
def test_bounds_that_cannot_be_are_named(space, bounds, said):
    with pytest.raises(UserError, match=said):
        bounded(space, bounds)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (Dict({"a": Dict({"b": Box(-INF, INF, (2,))})}), r"a\.b of Dict.* without bounds: \[low, high\] in the task's"),
        (Tuple((Discrete(2), gym.spaces.Text(40))), r"Text.*\(1 of Tuple"),
        (Dict({}), "Dict"),
        (MultiDiscrete([9_000, 9_000]), "MultiDiscrete"),
        (Tuple([MultiBinary(600)] * 2), "Tuple"),
    ],
)
def test_a_structure_without_words_is_named_with_its_part(space, said):
    with pytest.raises(UserError, match=f"cannot put actions of .*{said}"):
        codec_of(space)
