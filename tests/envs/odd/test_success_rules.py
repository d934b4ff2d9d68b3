"""Rules of success that can hold and can fail, of numbers that are numbers, and never of another's number."""

import re
from fractions import Fraction
from math import inf, isfinite, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.collect.rollout import rollout
from envs.declared import declared
from envs.errors import SimulatorError, UserError
from envs.foreign.values import number, rewarded, success_number
from envs.wrappers import SuccessRule
from policies.action_codec import codec_for
from policies.baselines import ZeroPolicy

FILE = "id: CartPole-v1\ninstruction: balance\nsuccess: {}\n"


def played(task, seeds=(0, 1), **settings):
    return rollout(task, ZeroPolicy(codec_for(task).action.space), [(seed, 0) for seed in seeds], **settings)


@pytest.mark.parametrize("bounds", [(nan, inf), (-inf, nan), (2, 1), (inf, inf), (-inf, -inf), (-inf, inf)])
def test_no_rule_in_code_says_nothing_either(bounds):
    with pytest.raises(UserError, match="success of 'won'"):
        SuccessRule("won", *bounds)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{of: success}", "success of 'success' has no bound, and always holds; valid: at_least, at_most, or both"),
        ("{of: terminated}", "has no bound"),
        ("{of: return, at_the_end: true}", "has no bound"),
        ("{of: won, at_least: -.inf}", "should be a finite number"),
        ("{of: won, at_least: .nan}", "is no number"),
        ("{of: won, at_least: 'nan'}", "'success.at_least' = 'nan': Input should be a finite number"),
        ("{of: won, at_most: 'nan', at_least: 1}", "should be a finite number"),
        ("{of: won, at_least: 2, at_most: 1}", "at_least 2, at_most 1 never holds; valid: numbers, at_least no more"),
        ("{of: won, at_least: .inf}", "should be a finite number"),
        ("{of: won, at_most: -.inf}", "should be a finite number"),
        ("{of: terminated, at_least: 2}", "never holds; valid: at_least: 1, or at_most: 0"),
        ("{of: terminated, at_least: 0}", "always holds; valid: at_least: 1, or at_most: 0"),
        ("{of: '', at_least: 1}", "success of ''; valid: return, reward, terminated, or a key of info"),
        ("{at_least: 1}", "'success.of' is missing"),
        ("{of: won, at_least: [1]}", "'success.at_least' = .1.*valid number"),
        ("{of: won, atleast: 1}", "'success.atleast' .did you mean 'success.at_least'"),
        ("won", "'success' = 'won'"),
        ("null", "'success' = None"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(tmp_path, rule, message):
    path = tmp_path / "task.yaml"
    path.write_text(FILE.format(rule))
    with pytest.raises(UserError, match=message) as error:
        declared(str(path))
    assert str(path) in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.floats(), st.floats(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_rule_that_is_taken_can_fail_and_can_hold(low, high, value):
    try:
        rule = SuccessRule("won", low, high)
    except UserError:
        assert not low <= high or inf in (low, -high) or (low, high) == (-inf, inf)
        return
    assert any(map(rule.holds, filter(isfinite, (low, high))))
    assert not all(rule.holds(x) for x in (-inf, value, inf))


@pytest.mark.parametrize("what", ["return", "reward", "terminated"])
def test_our_own_numbers_are_not_those_of_info(odd, what):
    told = {"return": -99.0, "reward": -1.0, "terminated": 0, "success": False}
    episodes = played(odd(success=SuccessRule(what, at_least=1), told=lambda x: told))
    assert [e.success for e in episodes] == [True, True]


@pytest.mark.parametrize(
    "value",
    [None, "yes", "1", np.array([1.0]), np.array([]), [True], {"won": 1}, nan, np.float32("nan"), 1j, object(), b"1"],
)
def test_a_success_that_is_no_number_is_refused_by_name(odd, value):
    with pytest.raises(UserError, match=r"info\['won'\], which tells success, is "):
        odd(success=SuccessRule("won", at_least=1), told=lambda x: {"won": value}).make()


@pytest.mark.parametrize("kind", [bool, np.bool_, int, np.float16, np.int8, np.array, lambda won: Fraction(int(won))])
def test_a_success_of_any_kind_of_number_is_told(odd, kind):
    episodes = played(odd(success=SuccessRule("won", at_least=1), told=lambda x: {"won": kind(x == 9)}))
    assert [e.success for e in episodes] == [True, True]


def test_a_success_key_within_another_is_none_and_the_valid_are_named(odd):
    task = odd(success=SuccessRule("episode.won", at_least=1), told=lambda x: {"episode": {"won": x == 9}})
    with pytest.raises(UserError, match=r"'episode.won' never appeared in info; valid: episode, return, reward, term"):
        played(task)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"reward": lambda done: None}, "the reward is None; valid: one number"),
        ({"reward": lambda done: np.array([1.0])}, r"the reward is array\(\[1.\]\) .ndarray."),
        ({"reward": lambda done: [1.0]}, "the reward is .1.0. .list."),
        ({"reward": lambda done: "1"}, "the reward is '1' .str."),
        ({"reward": lambda done: 10**400}, "a number below 1e308"),
        ({"flag": lambda done: None}, "terminated is None"),
        ({"flag": lambda done: np.array([done])}, "terminated is array"),
        ({"flag": lambda done: "no"}, "terminated is 'no'"),
        ({"flag": lambda done: 2}, "terminated is 2 .int.; valid: true or false"),
        ({"told": lambda x: None}, "returned .*valid: .observation, reward, terminated, truncated, info"),
        ({"told": lambda x: [("success", 1)]}, "returned .*valid: .observation, reward, terminated, truncated, info"),
        ({"reward": lambda done: nan}, "raises in every episode.*the reward is nan; valid: a finite number"),
        ({"reward": lambda done: inf}, "raises in every episode.*the reward is inf"),
    ],
)
def test_a_step_that_gives_something_else_is_refused_by_name(odd, parts, message):
    with pytest.raises(UserError, match=message):
        odd(**parts).make()


@pytest.mark.parametrize("kind", [bool, np.bool_, int, np.array, np.float32])
def test_flags_and_rewards_of_any_kind_of_number_are_taken(odd, kind):
    episodes = played(odd(flag=kind, reward=kind))
    assert [(e.success, e.ending, e.total_reward) for e in episodes] == [(True, "terminated", 1.0)] * 2


def test_a_reward_that_is_no_number_breaks_the_episode_and_is_no_failure(odd):
    now = {"reward": 0.0}
    task = odd(reward=lambda done: now["reward"], raises=lambda seed: now.update(reward=nan if seed == 1 else 0.0))
    whole, broken = played(task, [0])[0], played(task, [1])[0]
    assert (whole.ending, whole.success) == ("terminated", True)
    assert (broken.ending, broken.success) == ("broken", False)
    assert broken.error == "SimulatorError: the reward is nan; valid: a finite number"


def test_what_is_refused_at_first_breaks_an_episode_alone_where_another_has_ended(odd):
    """So it is of a rollout that goes on after a crash."""
    now = {"reward": 0.0}
    task = odd(reward=lambda done: now["reward"], raises=lambda seed: now.update(reward=None if seed == 1 else 0.0))
    task.make()
    with pytest.raises(UserError, match="the reward is None"):
        played(task, [1])
    (broken,) = played(task, [1], proved=True)
    assert (broken.ending, broken.error) == (
        "broken",
        "UserError: the reward is None; valid: one number, or true or false",
    )


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers())
numbers = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(), st.lists(st.floats(), max_size=2))
anything = st.one_of(plain, st.lists(plain, max_size=2), st.tuples(plain), numbers.map(np.array))


@settings(max_examples=300, deadline=None)
@given(anything)
def test_any_value_is_a_number_or_named_in_one_line(value):
    for read in (lambda v: number(v, "it"), lambda v: success_number(v, "won"), rewarded):
        found, error = outcome(read, value)
        if isinstance(error, UserError):
            assert re.fullmatch(r"[^\n]*; valid: [^\n]*", str(error))
        elif error:
            assert read is rewarded
            assert not isfinite(float(value))
        else:
            assert isinstance(found, float)


def outcome(read, value):
    """What is read, and what is raised."""
    try:
        return read(value), None
    except (UserError, SimulatorError) as error:
        return None, error
