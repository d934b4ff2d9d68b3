"""Outcomes mean the same on every time scale, and a failure never ties with a success."""

import numpy as np
import pytest

from agent.config import Margin, Tie
from agent.organise.critiques import answer_critiques, measured
from agent.organise.outcome import FAILURE, Outcome, mean, outcome, outcomes_of
from agent.organise.pairs import forks, pairs
from envs.registry import TASKS

A, B = (1, 0), (0, 1)
HALF = Margin(0.5, 0.5)


@pytest.fixture
def long_task(toy_task, monkeypatch):
    """The toy, with 200 steps to an episode."""
    monkeypatch.setitem(TASKS, "toy", toy_task(max_episode_steps=200))


@pytest.mark.parametrize("horizon", [8, 40, 200, 500])
def test_the_same_share_of_the_time_is_the_same_outcome(horizon):
    assert outcome(True, horizon // 2 - 1, horizon) == Outcome(1.0, 0.5)
    assert outcome(True, horizon - 1, horizon) == Outcome(1.0, 0.0)
    assert outcome(False, horizon - 1, horizon) == FAILURE


@pytest.mark.parametrize("later", [0, 8, 37, 38, 100, 199])
def test_a_failure_never_ties_with_a_success(later):
    success = outcome(True, later, 200)
    assert success > FAILURE
    assert not success.ties(FAILURE, Tie())
    assert success.beats(FAILURE, HALF)


def test_a_step_lost_counts_where_steps_are_few():
    """The tie is 0.05 of the steps left, so that one step of many is within it."""
    assert not outcome(True, 2, 8).ties(outcome(True, 3, 8), Tie())
    assert outcome(True, 2, 500).ties(outcome(True, 3, 500), Tie())
    assert not outcome(True, 2, 500).ties(outcome(True, 100, 500), Tie())


def test_repeats_are_averaged():
    assert mean([outcome(True, 0, 4), outcome(False, 3, 4)]) == Outcome(0.5, 0.375)


def test_more_success_comes_before_more_speed():
    sure, fast = Outcome(0.75, 0.1), Outcome(0.5, 0.45)
    assert sure > fast
    assert sure.beats(fast, Margin(0.25, 0.9))
    assert not sure.beats(fast, HALF)
    assert not fast.beats(sure, Margin(0.5, 0.1))


@pytest.mark.parametrize("later", [-1, 4])
def test_more_than_was_left_cannot_follow(later):
    with pytest.raises(ValueError, match="4 left"):
        outcome(True, later, 4)


def test_each_answer_has_the_steps_that_were_left_to_it(episode):
    won = episode([A, A, A], True)
    assert outcomes_of(won, 4) == [Outcome(1.0, 0.25), Outcome(1.0, pytest.approx(1 / 3)), Outcome(1.0, 0.5)]
    assert outcomes_of(won, None) == [Outcome(1.0, 0.0)] * 3  # without a limit, none was saved


def test_a_late_success_makes_a_pair_against_a_failure(episode, long_task):
    """At 0.9 a step, a success after 150 is worth 1e-7: a tie with a failure, and never a pair."""
    won, lost = episode([A] * 150, True), episode([B] + [A] * 199, attempt=1)
    (pair,) = pairs([won, lost], HALF, 9)
    assert (pair.chosen, pair.rejected, pair.margin) == ("move +1 +0", "move +0 +1", (1.0, pytest.approx(0.25)))
    (moment,) = measured([won, lost], Tie())["toy"]
    assert dict(zip(moment.answers, moment.good, strict=True)) == {"move +1 +0": True, "move +0 +1": False}
    asked = answer_critiques([won, lost], 9, Tie(), None, np.random.default_rng(0))
    assert {e.answer.split()[-1] for e in asked if e.answer.endswith(("yes", "no"))} == {"yes", "no"}


def test_where_other_answers_lead_to_the_same_end_nothing_is_learned(episode, long_task):
    one, other = episode([A] * 150, True), episode([B] + [A] * 152, True, attempt=1)
    (fork,) = forks([one, other])
    assert not fork.is_informative(Tie())
    assert pairs([one, other], HALF, 9) == []
    (fork,) = forks([one, episode([B] + [A] * 199, attempt=1)])
    assert fork.is_informative(Tie())


def test_the_horizon_is_told_in_decisions():
    assert TASKS["reach"].horizon == 10
    assert TASKS["mountain-car"].horizon == 50  # 200 steps, 4 to a decision
    assert TASKS["cliff-walking"].horizon == 50  # by its own limit
