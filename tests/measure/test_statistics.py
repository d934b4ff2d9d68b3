"""Statistics, checked against published values and by hand."""

import math

import numpy as np
import pytest

from agent.measure.statistics import (
    acted_on,
    best_of,
    critic_scores,
    heldout_gains,
    mcnemar,
    mean_gain,
    paired,
    pass_at,
    rate,
    sign_test,
    successes,
    verdict_scores,
)
from envs.errors import UserError
from policies.critic import Critique


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval(k, n, low, high):
    """Newcombe (1998), Statistics in Medicine 17:857-872, table I, score method."""
    measured = rate([True] * k + [False] * (n - k))
    assert (measured["k"], measured["n"]) == (k, n)
    assert measured["rate"] == pytest.approx(k / n)
    assert measured["ci95"] == pytest.approx([low, high], abs=5e-5)


def test_a_rate_of_nothing_is_an_error():
    with pytest.raises(ValueError):  # noqa: PT011 (scipy's own words)
        rate([])


def test_pass_at_k_of_more_attempts(episode):
    """2 of 4 attempts and 0 of 4: one of two drawn without replacement succeeds in 5/6 and in 0 of the draws."""
    starts = {1: (True, False, True, False), 2: (False,) * 4}
    played = [episode([(0, 0)], won, seed=s, attempt=a) for s, all_ in starts.items() for a, won in enumerate(all_)]
    assert [pass_at(played, k)["rate"] for k in (1, 2, 3, 4)] == pytest.approx([1 / 4, 5 / 12, 1 / 2, 1 / 2])
    assert (pass_at(played, 2)["k"], pass_at(played, 2)["n"]) == (2, 8)
    low, high = pass_at(played, 2)["ci95"]
    assert (low, high) == pytest.approx((0, 5 / 6))  # two starts, drawn with replacement
    broken = [episode([(0, 0)], seed=3, attempt=a, ending="broken" if a else "terminated") for a in range(4)]
    assert pass_at(played + broken, 2) == pass_at(played, 2)
    with pytest.raises(UserError, match="of every start of 'toy' an attempt broke"):
        pass_at(broken, 2)


def outcomes(gained, lost, both=3, neither=4):
    before = np.array([False] * gained + [True] * lost + [True] * both + [False] * neither)
    after = np.array([True] * gained + [False] * lost + [True] * both + [False] * neither)
    return before, after


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (1, 1, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (8, 2, 2 * (1 + 10 + 45) / 1024)],
)
def test_mcnemar_exact(gained, lost, p):
    assert mcnemar(*outcomes(gained, lost)) == pytest.approx(p)
    assert mcnemar(*outcomes(gained, lost, both=0, neither=90)) == pytest.approx(p)  # concordant pairs do not count


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (0, 1, 1 / 2), (0, 5, 1 / 32), (2, 3, 16 / 32), (2, 8, (1 + 10 + 45) / 1024)],
)
def test_a_one_sided_sign_test(gained, lost, p):
    assert sign_test(gained, lost, worse=True) == pytest.approx(p)


# pairs of episodes -----------------------------------------------------------------------------------------------
@pytest.fixture
def episodes(episode):
    """Makes one episode a letter: + success, - failure, x broken."""

    def make(letters, task="reach"):
        return [
            episode([(1, 0)], letter == "+", seed=i, task=task, ending="broken" if letter == "x" else None)
            for i, letter in enumerate(letters)
        ]

    return make


def test_broken_episodes_are_no_failures(episodes):
    assert successes(episodes("+-x+")).tolist() == [True, False, True]


def test_pairs_are_made_start_by_start_and_broken_ones_dropped(episodes):
    before, after = paired(episodes("+-x+-"), episodes("-+++x"))
    assert before.tolist() == [True, False, True]
    assert after.tolist() == [False, True, True]


def test_pairs_are_matched_by_their_starts(episodes):
    before, after = paired(episodes("+--"), episodes("-++")[::-1])
    assert before.tolist() == [True, False, False]
    assert after.tolist() == [False, True, True]
    several = [*episodes("+-"), *episodes("-+", task="push")]
    before, after = paired(several, [*episodes("+-", task="push"), *episodes("++")])
    assert before.tolist() == [True, False, False, True]
    assert after.tolist() == [True, True, True, False]


def test_a_broken_episode_may_be_missing_on_the_other_side(episodes):
    before, after = paired(episodes("+-x"), episodes("++"))
    assert (before.tolist(), after.tolist()) == ([True, False], [True, True])


def test_different_starts_are_no_pairs(episodes, episode):
    with pytest.raises(ValueError, match="different starts"):
        paired(episodes("+-"), episodes("+-+"))
    with pytest.raises(ValueError, match="different starts"):
        paired(episodes("+"), episodes("+", task="push"))
    with pytest.raises(ValueError, match="different starts"):
        paired([episode([(1, 0)])], [episode([(1, 0)], attempt=1)])
    with pytest.raises(ValueError, match="2 episodes of 1 starts: a start is there twice"):
        paired(episodes("+") * 2, episodes("+") * 2)


def test_nothing_whole_is_no_measurement(episodes):
    with pytest.raises(UserError, match="played whole before and after; the first: RuntimeError: boom"):
        paired(episodes("+"), episodes("x"))
    with pytest.raises(UserError, match="every episode of 'reach' broke; the first: RuntimeError: boom"):
        successes(episodes("xx"))


# gains -----------------------------------------------------------------------------------------------------------
def test_gain_is_in_points_and_within_its_interval():
    better = np.array([1] * 30 + [0] * 60 + [-1] * 10)
    points, (low, high) = mean_gain([better])
    assert points == pytest.approx(20)
    assert 0 < low < points < high < 40
    assert mean_gain([-better])[0] == pytest.approx(-20)
    assert mean_gain([-better])[1][1] < 0


def test_the_interval_has_the_width_of_the_normal_approximation():
    differences = np.array([1] * 300 + [0] * 500 + [-1] * 200)
    _, (low, high) = mean_gain([differences])
    assert high - low == pytest.approx(2 * 1.96 * 100 * differences.std() / math.sqrt(1000), rel=0.05)


def test_tasks_weigh_the_same_whatever_their_episodes():
    assert mean_gain([np.ones(10), np.zeros(90)])[0] == pytest.approx(50)
    points, interval = mean_gain([np.ones(10), np.zeros(90)])
    assert interval == [points, points]  # nothing to be unsure of


def test_intervals_are_reproducible():
    differences = [np.array([1, 0, -1, 1, 1, 0]), np.array([0, 1, 1, 0])]
    assert mean_gain(differences) == mean_gain(differences)


def test_comparison_of_two_policies(episodes):
    before = {"reach": episodes("++--------"), "push": episodes("----x", "push")}
    after = {"reach": episodes("-++++++---"), "push": episodes("---++", "push")}
    result = heldout_gains(before, after)
    reach, push = result["heldout"]["reach"], result["heldout"]["push"]
    assert (reach["before"]["k"], reach["after"]["k"], reach["before"]["n"]) == (2, 6, 10)
    assert (push["before"]["k"], push["after"]["k"], push["before"]["n"]) == (0, 1, 4)
    assert reach["gain"]["points"] == pytest.approx(40)
    assert reach["gain"]["p_value"] == pytest.approx(mcnemar(*outcomes(5, 1)))
    assert reach["gain"]["ci95"][0] < 40 < reach["gain"]["ci95"][1]
    mean = result["heldout_mean"]
    assert mean["before"] == pytest.approx(0.1)
    assert mean["after"] == pytest.approx((0.6 + 0.25) / 2)
    assert mean["gain_points"] == pytest.approx(100 * (mean["after"] - mean["before"]))


# the critic ------------------------------------------------------------------------------------------------------
def scored(episodes):
    return critic_scores(acted_on(episodes), episodes)


def judged(episode, good, bad):
    """Episodes with these verdicts, successes and failures."""
    return [
        *(episode([(1, 0)], True, seed=i, verdicts=[v]) for i, v in enumerate(good)),
        *(episode([(1, 0)], False, seed=99 + i, verdicts=[v]) for i, v in enumerate(bad)),
    ]


@pytest.mark.parametrize(
    ("good", "bad", "auroc"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.1, 0.2], [0.9, 0.8], 0.0),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
        ([0.9, 0.3], [0.5], 0.5),
        ([0.9, 0.6, 0.3], [0.5, 0.1], 5 / 6),
    ],
)
def test_auroc(episode, good, bad, auroc):
    assert scored(judged(episode, good, bad))["auroc"] == pytest.approx(auroc)


def test_brier_score(episode):
    scores = scored(judged(episode, [1.0, 0.5], [0.0, 0.2]))
    assert scores["brier"] == pytest.approx((0 + 0.25 + 0 + 0.04) / 4)


def test_a_critic_that_knows_only_the_easier_task_scores_chance(episode):
    easy = [episode([(1, 0)], k < 3, task="easy", verdicts=[0.9]) for k in range(4)]
    hard = [episode([(1, 0)], k < 1, task="hard", verdicts=[0.1]) for k in range(4)]
    assert scored([*easy, *hard])["auroc"] == pytest.approx(0.5)


@pytest.mark.parametrize(("good", "bad"), [([], []), ([0.9], []), ([], [0.9])])
def test_a_critic_without_both_outcomes_has_no_score(episode, good, bad):
    scores = scored(judged(episode, good, bad))
    assert all(math.isnan(value) for value in (scores["auroc"], scores["brier"], *scores["ends"].values()))


def test_steps_without_a_verdict_and_broken_episodes_do_not_count(episode):
    episodes = judged(episode, [0.9], [0.1])
    episodes += [episode([(1, 0)], True), episode([(1, 0)], ending="broken", verdicts=[1.0])]
    scores = scored(episodes)
    assert (scores["auroc"], scores["brier"]) == (1.0, pytest.approx(0.01))


def test_conclusions_are_scored_apart(episode):
    episodes = judged(episode, [0.9, 0.9, 0.9], [0.1])
    for e, conclusion in zip(episodes, (0.8, 0.3, 0.7, 0.5), strict=True):
        e.conclusion = Critique(conclusion, "")
    ends = scored(episodes)["ends"]
    assert ends["auroc"] == pytest.approx(2 / 3)
    assert ends["balanced_accuracy"] == pytest.approx((2 / 3 + 0) / 2)  # a failure at 0.5 was called a success


def test_a_reliability_diagram_counts_what_came_true():
    scores = verdict_scores([0.05, 0.15, 0.95, 1.0], [False, True, True, True])
    assert scores["reliability"] == [[pytest.approx(0.1), 0.5, 2], [pytest.approx(0.975), 1.0, 2]]
    assert scores["base_brier"] == pytest.approx(0.75 * 0.25)
    assert scores["brier"] == pytest.approx((0.05**2 + 0.85**2 + 0.05**2) / 4)


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_who_always_says_the_same_tells_nothing(constant):
    scores = verdict_scores([constant] * 6, [True, False, True, True, False, True])
    assert (scores["auroc"], scores["balanced_accuracy"]) == (0.5, 0.5)
    assert scores["brier"] >= scores["base_brier"]


def test_the_best_of_a_moment():
    """Only moments with good and other answers tell; of two equal verdicts the first counts."""
    moments = [
        [(0.9, True), (0.1, False)],
        [(0.2, True), (0.3, False), (0.1, False), (0.0, False)],
        [(0.5, True), (0.5, False)],
        [(0.9, True), (0.1, True)],
        [(0.4, False)],
        [],
    ]
    scores = best_of(moments)
    assert (scores["best"], scores["n"]) == (pytest.approx(2 / 3), 3)
    assert scores["chance"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3)


def test_a_critic_that_knows_only_the_better_moment_is_no_better_than_chance_within_one():
    """Its AUROC over all answers says much, its choice nothing: every verdict of a moment is the same."""
    easy, hard = [(0.9, False), (0.9, True), (0.9, True), (0.9, True)], [(0.1, False), (0.1, False), (0.1, True)]
    moments = [easy, hard]
    every = [answer for moment in moments for answer in moment]
    assert verdict_scores(*zip(*every, strict=True))["auroc"] > 0.6
    assert best_of(moments)["best"] == 0 < best_of(moments)["chance"]


@pytest.mark.parametrize("moments", [[], [[]], [[(0.9, True), (0.2, True)]], [[(0.9, False)]]])
def test_without_a_choice_there_is_no_best(moments):
    scores = best_of(moments)
    assert scores["n"] == 0
    assert math.isnan(scores["best"])
    assert math.isnan(scores["chance"])
