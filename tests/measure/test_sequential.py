"""Evidence that holds at every look: e-processes by their definition, intervals by simulation."""

import numpy as np
import pytest
from scipy import integrate

from agent.measure.error_rates import simulate_until
from agent.measure.sequential import anytime_rate, confidence_sequence, log_e_better, play_until
from agent.measure.statistics import rate
from envs.errors import UserError


# the e-process ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 2), (20, 5), (5, 20), (0, 9)])
def test_the_e_process_is_a_bettors_mean_wealth(gained, lost):
    wealth, _ = integrate.quad(lambda b: (1 + b) ** gained * (1 - b) ** lost, 0, 1)
    assert np.exp(log_e_better(gained, lost)) == pytest.approx(wealth)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (4, 1), (1, 4), (30, 12)])
def test_no_bet_on_a_fair_coin_wins_on_average(gained, lost):
    """A martingale at a probability of 1/2, and a loss below that."""
    now, won, missed = (np.exp(log_e_better(*c)) for c in ((gained, lost), (gained + 1, lost), (gained, lost + 1)))
    assert (won + missed) / 2 == pytest.approx(now)
    assert 0.4 * won + 0.6 * missed < now


def test_thousands_of_pairs_are_no_overflow():
    assert log_e_better(9000, 1000) > 1000
    assert log_e_better(1000, 9000) < -9  # nearly all bets are lost


# the confidence sequence -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("k", "n"), [(1, 2), (15, 20), (50, 100), (300, 1000), (990, 1000)])
def test_it_is_wider_than_an_interval_for_one_look(k, n):
    low, high = confidence_sequence(k, n, 0.05)
    assert 0 <= low < rate([True] * k + [False] * (n - k))["ci95"][0]
    assert 1 >= high > rate([True] * k + [False] * (n - k))["ci95"][1]


def test_failures_and_successes_are_alike():
    low, high = confidence_sequence(120, 400, 0.05)
    assert confidence_sequence(280, 400, 0.05) == pytest.approx((1 - high, 1 - low))


def test_nothing_but_one_outcome_leaves_its_end_open():
    assert confidence_sequence(0, 300, 0.05)[0] == 0
    assert confidence_sequence(300, 300, 0.05)[1] == 1
    assert confidence_sequence(300, 300, 0.05)[0] > 0.9


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match=f"{k} successes of {n}"):
        confidence_sequence(k, n, 0.05)


@pytest.mark.parametrize("true_rate", [0.3, 0.5, 0.9])
def test_it_holds_at_every_look_and_wilsons_does_not(true_rate):
    held, always, episodes = simulate_until(true_rate, 0.1, repeats=150, batch=20)
    assert held >= always >= 0.95
    assert episodes < 300
    assert simulate_until(true_rate, 0.1, anytime=False, repeats=150, batch=20)[1] < 0.95


# playing until ---------------------------------------------------------------------------------------------------
@pytest.fixture
def player(episode):
    """Makes a `play` whose episodes are letters, + success, - failure, x broken, and a list of its batches' sizes."""

    def make(letters):
        sizes = []

        def play(starts):
            sizes.append(len(starts))
            return [
                episode([(1, 0)], letters[i] == "+", seed=i % 200, ending="broken" if letters[i] == "x" else None)
                for i in starts
            ]

        return play, sizes

    return make


def test_it_plays_until_the_interval_is_narrow(player):
    play, sizes = player("+++++++++-" * 100)
    played, told = play_until(play, iter(range(1000)), 0.1, batch=20)
    assert sizes == [20] * (len(played) // 20)
    assert 20 < len(played) < 300
    low, high = told["ci95"]
    assert high - low <= 0.2
    assert told == anytime_rate([e.success for e in played], 0.1)
    assert (told["rate"], told["anytime"]) == (pytest.approx(0.9), True)
    low, high = anytime_rate([e.success for e in played[:-20]], 0.1)["ci95"]
    assert high - low > 0.2  # not a batch more than needed


def test_it_ends_with_the_starts(player):
    play, sizes = player("+-" * 25)
    played, told = play_until(play, iter(range(50)), 0.05, batch=20)
    assert sizes == [20, 20, 10]
    assert (len(played), told["k"], told["n"]) == (50, 25, 50)
    assert told["ci95"][1] - told["ci95"][0] > 0.1


def test_broken_episodes_do_not_count(player):
    play, _ = player("x" * 20 + "+-x" * 10)
    assert play_until(play, iter(range(50)), 0.05, batch=20)[1]["n"] == 20
    play, _ = player("x" * 50)
    with pytest.raises(UserError, match="every episode of 'toy' broke"):
        play_until(play, iter(range(50)), 0.05, batch=20)


@pytest.mark.parametrize("half_width", [0.0, -0.05, 0.5, 5.0, float("nan")])
def test_a_half_width_must_be_one(half_width, player):
    play, sizes = player("+")
    with pytest.raises(UserError, match=r"points; valid: from 0\.5 to below 50 points"):
        play_until(play, iter(range(1)), half_width)
    assert not sizes
    with pytest.raises(UserError, match="no starts"):
        play_until(play, iter(()), 0.05)
