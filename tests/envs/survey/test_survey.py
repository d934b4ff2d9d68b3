"""What random play shows of an environment, and what is taken for its success."""

import gymnasium as gym
import numpy as np
import pytest

from envs.errors import UserError
from envs.survey import smaller
from envs.survey.play import survey
from envs.survey.proposing import sees
from envs.survey.success import guess, holds
from tests.envs.survey.strangers import FALLS, HERE


def test_a_success_key_of_info_comes_first():
    found = survey(f"{HERE}:HandEyeTest/Told-v0")
    assert found.binary == ("goal_reached", "is_late")  # not the count, and not what is now a number, now a text
    assert set(found.keys) == {"goal_reached", "is_late", "count", "mixed"}
    guessed = guess(found)
    assert (guessed.rule.of, guessed.rule.at_least, guessed.is_sure) == ("goal_reached", 1, True)
    short = [e for e in found.episodes if len(e.rewards) < 12]  # reached before the time limit
    assert 0 < len(short) < len(found.episodes)
    assert all(holds(guessed.rule, e) and e.terminated for e in short)
    assert not all(holds(guessed.rule, e) for e in found.episodes)


@pytest.mark.parametrize(
    ("env_id", "rule"),
    [
        ("CartPole-v1", ("return", 475)),  # it ends by failing
        ("FrozenLake-v1", ("reward", 1)),  # it ends in a hole, or at the goal
        ("Taxi-v4", ("terminated", 1)),
        ("MountainCarContinuous-v0", ("return", 90)),  # random play never ends it
        ("Hopper-v5", ("return", 3800)),
    ],
)
def test_the_success_of_what_gymnasium_ships(env_id, rule):
    guessed = guess(survey(env_id))
    assert (guessed.rule.of, guessed.rule.at_least) == rule
    assert guessed.is_sure


def test_what_is_not_known_is_a_guess():
    guessed = guess(survey("Pendulum-v1"))  # dense rewards, no end, nothing registered
    assert guessed.rule.of == "return"
    assert not guessed.is_sure
    assert [rule.of for rule, _ in guessed.others] == ["terminated"]


def test_a_score_is_to_be_beaten():
    guessed = guess(survey(f"{HERE}:HandEyeTest/Scored-v0"))
    assert (guessed.rule.of, guessed.rule.at_least) == ("score", 1)
    assert not guessed.is_sure
    assert "return" in [rule.of for rule, _ in guessed.others]


def test_a_late_success_counts_though_it_is_worth_less():
    found = survey(f"{HERE}:HandEyeTest/Brief-v0")
    rule = guess(found).rule
    assert (rule.of, guess(found).is_sure) == ("reward", True)
    reached = [e.rewards[-1] for e in found.episodes if e.rewards[-1] > 0]
    assert 0 < rule.at_least < min(reached) / 5


def test_the_rarer_of_two_rewards_is_to_be_held_at_the_end():
    guessed = guess(survey(f"{HERE}:HandEyeTest/Place-v0"))
    assert (guessed.rule.of, guessed.rule.at_least, guessed.is_sure) == ("reward", 1, False)


def test_a_number_that_play_leaves_as_it_is_has_the_bounds_of_its_space():
    assert sees(survey(f"{HERE}:HandEyeTest/Place-v0")).value == {
        "state": ["observation.0:1", {"of": "observation.1", "low": -40.0, "high": 40.0}, "observation.2:3"]
    }


@pytest.mark.parametrize(
    ("reward", "ends", "rule"),
    [
        (0.0, True, ("return", 1e-3, np.inf)),  # any reward at all
        (1.0, True, ("terminated", -np.inf, 0)),  # lasts
        (-1.0, True, ("terminated", 1, np.inf)),  # is quick
    ],
)
def test_constant_rewards_say_which_ending_is_meant(reward, ends, rule):
    guessed = guess(survey(f"{HERE}:HandEyeTest/Flat-v0", {"reward": reward, "ends": ends}))
    assert (guessed.rule.of, guessed.rule.at_least, guessed.rule.at_most) == rule
    assert not guessed.is_sure


def test_an_episode_that_breaks_is_noted():
    found = survey(f"{HERE}:HandEyeTest/Falls-v0")
    assert found.broken == FALLS
    assert len(found.episodes) == 50  # every other one


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        (f"{HERE}:HandEyeTest/Falls-v0", {"always": True}, "raises in every episode; the first time: RuntimeError"),
        (f"{HERE}:HandEyeTest/Falls-v0", {"screen": False}, "cannot be drawn: RuntimeError: no screen; valid: an env"),
        ("CartPol-v1", {}, "unknown environment 'CartPol-v1'; valid: "),
        ("nowhere_at_all:Some-v0", {}, "needs nowhere_at_all"),
    ],
)
def test_what_cannot_be_played_is_one_line(env_id, kwargs, message):
    with pytest.raises(UserError, match=message):
        survey(env_id, kwargs)


def test_moving_pictures_are_told_from_still_ones():
    assert survey("CartPole-v1").moves
    still = survey(f"{HERE}:HandEyeTest/Flat-v0", {"reward": 0.0, "ends": True})
    assert (still.moves, still.size, still.fps) == (False, (20, 30), 4)


def test_slow_pictures_are_made_smaller(monkeypatch):
    large = f"{HERE}:HandEyeTest/Large-v0"
    assert survey(large).smaller == {}
    monkeypatch.setattr(smaller, "SLOW_MS", 15.0)
    assert survey(large).smaller == {"view_width": 128, "view_height": 85}
    assert survey(large, {"view_width": 300}).smaller == {}  # the user's own word
    assert survey(f"{HERE}:HandEyeTest/Told-v0").smaller == {}


def test_the_registry_is_as_before():
    before = set(gym.registry)
    survey("FrozenLake-v1")
    assert set(gym.registry) == before
