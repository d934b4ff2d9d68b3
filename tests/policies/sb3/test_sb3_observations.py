"""What a model of Stable-Baselines3 is given: the environment's state, or the pixels and words that a policy sees."""

from dataclasses import replace

import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env

from envs.errors import UserError
from envs.observation import Observation
from envs.registry import TASKS, tagged
from policies.sb3 import OBSERVE, Within, encoded, watched


@pytest.mark.parametrize("observe", OBSERVE)
@pytest.mark.parametrize("name", ["cartpole", "frozen-lake", "reach"])
def test_environments_are_what_sb3_takes(name, observe):
    env = watched(TASKS[name], observe)
    check_env(env, warn=False)
    env.close()


@pytest.mark.skipif(not TASKS["fetch-reach"].is_installed(), reason="needs the extra robotics")
def test_goals_beside_the_observation_are_part_of_the_state():
    env = watched(TASKS["fetch-reach"], "state")
    assert {"observation", "achieved_goal", "desired_goal"} <= set(env.observation_space.keys())
    env.close()


def test_pixels_are_what_every_policy_sees():
    task = TASKS["cartpole"]
    env = watched(task, "pixels")
    env.reset(seed=0)
    for _ in range(8):
        seen, *_ = env.step(1)
    frames = task.observe(env.env).frames
    np.testing.assert_array_equal(seen["frames"], np.concatenate(frames.transpose(0, 3, 1, 2)))
    assert (frames[0] != frames[1]).any()
    env.close()


def test_actions_that_are_rounded_beyond_their_bounds_are_clipped():
    """SB3's rescaling sometimes rounds beyond the bounds, of SAC's actions in 0.1 to 0.7 for example."""
    env = Within(TASKS["pendulum"].make())
    env.reset(seed=0)
    env.step(np.nextafter(env.action_space.high, np.float32(9)))
    env.close()


def test_no_two_instructions_look_alike():
    """Also of the same words in another order."""
    instructions = {
        task.language.instruction(None) for task in TASKS.values() if task.suite not in ("tabletop", "questions")
    }
    for name in tagged("tabletop"):
        env = TASKS[name].make()
        for seed in range(60):
            env.reset(seed=seed)
            instructions.add(env.unwrapped.instruction)
        env.close()
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    rows = {encoded(Observation(frames, words))["instruction"].tobytes() for words in instructions}
    assert len(rows) == len(instructions) > 100
    one, other = (
        encoded(Observation(frames, f"push the {a} cube to the {b} pad"))["instruction"]
        for a, b in (("red", "blue"), ("blue", "red"))
    )
    assert (one != other).any()


def test_numbers_keep_their_size():
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    rows = encoded(Observation(frames, "reach", "gripper 20 -9"))["proprioception"]
    assert rows[1:3, -1].tolist() == [20 / 32, -9 / 32]
    assert not rows[3:].any()


def test_a_text_that_is_too_long_is_no_shorter_one():
    with pytest.raises(UserError, match="33 words; valid for pixels: at most 32"):
        encoded(Observation(np.zeros((1, 2, 2, 3), np.uint8), "go " * 33))


def test_frames_too_small_to_learn_from():
    with pytest.raises(UserError, match=r"frames of 16 x 16 px of task 'cartpole'; valid for pixels: at least 36 px"):
        watched(TASKS["cartpole"].with_env(image_size=16), "pixels")


def test_a_state_that_sb3_cannot_take_in():
    blackjack = replace(TASKS["cartpole"], name="blackjack").with_env(id="Blackjack-v1")
    with pytest.raises(UserError, match=r"the state of task 'blackjack' is Tuple.*valid: pixels"):
        watched(blackjack, "state")
