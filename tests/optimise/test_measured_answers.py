"""Measured outcomes as labels (KTO) and weights (AWR) of single answers, and the states of GRPO's groups."""

import numpy as np
import pytest

from agent.config import Tie
from agent.organise.outcome import Outcome
from agent.organise.pairs import advantages, labelled_answers, weighted
from agent.stages.optimisers.grpo import states

A, B, C = (1, 0), (0, 1), (-1, 0)


@pytest.fixture
def tried(episode):
    """At the first observation: A fails, B succeeds at once, C succeeds late; nothing else differs."""
    return [
        episode([A, A, A], False),
        episode([B], True, attempt=1),
        episode([C, C, C], True, attempt=2),
    ]


def first_answers(tried):
    return [e.steps[0].decision.answer for e in tried]


def test_an_answer_is_good_where_it_ties_with_the_best(tried):
    bad, best, late = first_answers(tried)
    assert [(a.answer, a.good) for a in labelled_answers(tried, Tie())] == [(bad, False), (late, False), (best, True)]
    slow = Tie(saved=1.0)  # speed does not matter
    assert [(a.answer, a.good) for a in labelled_answers(tried, slow)] == [(bad, False), (late, True), (best, True)]


def test_answers_that_all_fail_or_tie_have_no_labels(episode):
    assert labelled_answers([episode([A], False), episode([B], False, attempt=1)], Tie()) == []
    assert labelled_answers([episode([A], True), episode([B], True, attempt=1)], Tie()) == []


def test_an_advantage_is_over_the_mean_of_the_answers(tried):
    found = {example.answer: advantage for example, advantage in advantages(tried)}
    bad, best, late = (found[answer] for answer in first_answers(tried))
    assert bad < 0 < best
    assert bad < late < best
    assert bad + late + best == pytest.approx(0)


def test_a_success_is_worth_more_than_any_failure():
    assert Outcome(0, 0).value < Outcome(0.5, 0).value < Outcome(1, 0).value < Outcome(1, 0.9).value < 2


def test_answers_are_drawn_by_their_weights(tried):
    answers = advantages(tried)
    drawn = weighted(answers * 500, 0.5, np.random.default_rng(0))
    assert len(drawn) == 1500
    share = [np.mean([example.answer == a for example in drawn]) for a in first_answers(tried)]
    advantage = {example.answer: a for example, a in answers}
    weights = np.exp([advantage[a] / 0.5 for a in first_answers(tried)])
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.04)
    assert weighted([], 0.5, np.random.default_rng(0)) == []


def test_groups_are_where_actions_were_followed_by_both_ends(episode, tried):
    (point,) = states(tried)
    assert (point.episode, point.step) == (tried[0], 0)
    assert states(tried[1:]) == []  # both succeed
    assert states([episode([A], True), episode([A, B], False, attempt=1)]) == []  # the same action
