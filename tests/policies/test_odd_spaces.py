"""Any action space has words that make the round trip, or is refused by name with the kinds that are valid."""

import re

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import UserError
from envs.task import ActionWords
from policies.action_codec import BoxCodec, DiscreteCodec, _action_codec
from policies.base import Decision
from policies.baselines import RandomPolicy, ZeroPolicy

WORDS = ActionWords()


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Sequence(gym.spaces.Discrete(2)),
        gym.spaces.Graph(gym.spaces.Box(0, 1), None),
        gym.spaces.OneOf([gym.spaces.Discrete(2)]),
        gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
        gym.spaces.Box(0, np.inf, (2,), np.float32),
        gym.spaces.Box(-np.inf, np.array([0.0, 1.0]), (2,), np.float64),
        gym.spaces.Box(-1, 1, (0,), np.float32),
        gym.spaces.Box(-1, 1, (100_000,), np.float32),
        gym.spaces.Box(-1.7e308, 1.7e308, (1,), np.float64),
        gym.spaces.Discrete(2**40),
    ],
)
def test_a_space_without_words_is_named_with_those_that_have(space):
    with pytest.raises(UserError, match=r"cannot put actions of .* into words.*; valid: Discrete .* Box .*") as error:
        _action_codec(space, WORDS)
    assert type(space).__name__ in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("space", [gym.spaces.Text(5), gym.spaces.Text(40), gym.spaces.Text(40, min_length=3)])
def test_text_that_holds_no_numbers_is_refused(space):
    with pytest.raises(UserError, match=r"actions of Text.* Text that holds numbers such as -9999.9999999e.99"):
        _action_codec(space, WORDS)


@st.composite
def boxes(draw):
    kind = draw(st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64]))
    n = draw(st.integers(1, 3))
    ints = st.integers(0, 255) if kind == np.uint8 else st.integers(-100, 100)
    bound = ints if np.issubdtype(kind, np.integer) else st.floats(-100, 100, width=16)
    pairs = [sorted((draw(bound), draw(bound))) for _ in range(n)]
    low, high = (np.array(side, kind) for side in zip(*pairs, strict=True))
    low, high = low + kind(0), high + kind(0)  # no -0.0
    return gym.spaces.Box(low, high, (n,), kind)


@settings(max_examples=300, deadline=None)
@given(boxes(), st.sampled_from([3, 5, 9, 21]), st.data())
def test_actions_of_any_bounded_box_make_the_round_trip(space, levels, data):
    codec = BoxCodec(space, levels)
    said = "move " + " ".join(
        data.draw(st.lists(st.sampled_from(codec.words), min_size=len(space.low), max_size=len(space.low)))
    )
    action = codec.decode(said)
    assert space.contains(action)
    again = codec.encode(action)
    assert re.fullmatch(codec.regex, again)
    step = (space.high.astype(float) - space.low) / (levels - 1)
    assert (np.abs(codec.decode(again).astype(float) - action) <= step / 2 + 0.2).all()
    if space.dtype.kind != "f":
        np.testing.assert_array_equal(codec.decode(again), action)
    rng = np.random.default_rng(0)
    for policy in (ZeroPolicy(space), RandomPolicy(space)):
        (decision,) = policy.act([None], [rng])
        assert isinstance(decision, Decision)
        assert space.contains(decision.action)
        assert re.fullmatch(codec.regex, codec.encode(decision.action))


def test_an_axis_that_cannot_move_is_at_its_zero():
    space = gym.spaces.Box(np.array([-1, 2], np.float32), np.array([1, 2], np.float32))
    codec = BoxCodec(space, 9)
    assert codec.encode(np.array([1, 2])) == "move +4 +0"
    np.testing.assert_array_equal(codec.decode("move -4 +3"), [-1, 2])


def test_of_whole_numbers_the_nearest_action_is_said():
    codec = BoxCodec(gym.spaces.Box(-3, 3, (2,), np.int64), 9)
    for action in ([-3, 3], [-2, 2], [-1, 1], [0, 0]):
        np.testing.assert_array_equal(codec.decode(codec.encode(np.array(action))), action)
    assert codec.encode(np.array([0, 0])) == "move +0 +0"


@pytest.mark.parametrize(
    "name",
    ["", " ", " left", "right ", "go\nleft", "go\tleft", "go  left", "left\u00a0", "le\u200bft", "a; move b", "\x00"],
)
def test_what_is_no_name_of_an_action_is_refused(name):
    with pytest.raises(UserError, match="action name ") as error:
        DiscreteCodec(gym.spaces.Discrete(2), (name, "right"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "names",
    [("a|b", "(.*)"), ("nach links ü", "右へ 🤖"), ("\\d", "[^a]"), ("go", "go left"), ("same", "other"), ("1", "0")],
)
def test_any_words_in_one_line_are_names(names):
    codec = DiscreteCodec(gym.spaces.Discrete(2, start=3), names)
    for i, name in enumerate(names):
        assert codec.encode(3 + i) == f"move {name}"
        assert codec.decode(f"move {name}") == 3 + i
    with pytest.raises(UserError, match="does not parse"):
        codec.decode("move aa")


@pytest.mark.parametrize("names", [("one",), ("one", "one"), ("one", "two", "three")])
def test_another_number_of_names_is_refused(names):
    with pytest.raises(UserError, match=r"valid: 2 different names, one for each of Discrete\(2\)"):
        DiscreteCodec(gym.spaces.Discrete(2), names)


def test_names_of_a_continuous_action_are_refused():
    with pytest.raises(UserError, match=r"actions left, right of Box.*; valid: none, its actions are levels"):
        _action_codec(gym.spaces.Box(-1, 1, (2,)), ActionWords(names=("left", "right")))


def test_more_levels_than_a_grammar_holds_are_refused():
    with pytest.raises(UserError, match="levels = 1000000001; valid: an odd number of at least 3, at most 999"):
        BoxCodec(gym.spaces.Box(-1, 1, (2,)), 1_000_000_001)
