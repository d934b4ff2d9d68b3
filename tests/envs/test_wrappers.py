"""What wraps any environment: success by its rule, actions checked and repeated, pictures and their history."""

import gymnasium as gym
import numpy as np
import pytest

from envs.errors import UserError
from envs.registry import TASKS
from envs.wrappers import ActionRepeat, FrameHistory, Judged, Picture, SuccessRule


def ends(rule, told=None):
    """(success, terminated) of each step."""
    env = Judged(gym.make("HandEyeTest/Counting-v0", told=told), rule)
    env.reset(seed=0)
    steps, over = [], False
    while not over:
        _, _, terminated, truncated, info = env.step(1)
        assert info["success"] is info["is_success"]
        steps.append((info["success"], terminated))
        over = terminated or truncated
    return steps


FAILED, WON, GOES_ON = (False, False), (True, True), (False, False)


@pytest.mark.parametrize(
    ("rule", "told", "expected"),
    [
        (SuccessRule("return", at_least=4), None, [GOES_ON] * 3 + [WON]),
        (SuccessRule("return", at_least=5), None, [FAILED] * 4),
        (SuccessRule("reward", at_least=1), None, [GOES_ON] * 3 + [WON]),
        (SuccessRule("terminated", at_least=1), None, [FAILED] * 4),
        (SuccessRule("solved", at_least=1), {"solved": [0, 1, 0, 0]}, [GOES_ON, WON]),
        (SuccessRule("solved", at_least=1, at_the_end=True), {"solved": [0, 1, 0, 0]}, [FAILED] * 4),
        (SuccessRule("apart", at_most=0.1), {"apart": [3, 2, 0.05, 0]}, [GOES_ON, GOES_ON, WON]),
    ],
)
def test_success_follows_its_rule(rule, told, expected):
    assert ends(rule, told) == expected


def test_a_success_key_that_never_appears_is_found_at_the_first_end():
    with pytest.raises(UserError, match=r"'sucess' never appeared in info; valid: return, reward, solved, terminated"):
        ends(SuccessRule("sucess", at_least=1), {"solved": [0] * 4})


@pytest.mark.parametrize("action", [0, 4, 1.5, np.nan, [1, 2]])
def test_impossible_discrete_actions_are_refused(action):
    env = Judged(gym.make("HandEyeTest/Counting-v0"), SuccessRule("reward", at_least=1))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        env.step(action)


@pytest.mark.parametrize("action", [[np.nan], [3.5], [0.0, 0.0]])
def test_impossible_continuous_actions_are_refused(action):
    env = TASKS["inverted-pendulum"].make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        env.step(np.array(action))
    env.close()


def test_an_action_is_repeated_until_the_end():
    env = ActionRepeat(gym.make("HandEyeTest/Counting-v0"), 3)
    env.reset(seed=0)
    assert env.step(1)[:4] == (3, 3.0, False, False)
    assert env.step(1)[:4] == (4, 1.0, False, True)


def test_frames_are_scaled_down_and_remembered():
    env = FrameHistory(Picture(gym.make("HandEyeTest/Counting-v0", render_mode="rgb_array"), 8), 3)
    env.reset(seed=0)
    for expected in ([0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]):
        assert env.frames().shape == (3, 8, 8, 3)
        assert [int(frame.max()) for frame in env.frames()] == expected
        env.step(1)


def test_an_environment_without_a_picture_is_named():
    env = Picture(gym.make("HandEyeTest/Counting-v0", blind=True, render_mode="rgb_array", disable_env_checker=True), 8)
    env.reset(seed=0)
    with pytest.raises(UserError, match="gave NoneType; valid: an environment whose rgb_array"):
        env.render()
