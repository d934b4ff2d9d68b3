"""Actions as text and back; the expert still succeeds through the codec."""

import itertools
import re

import gymnasium as gym
import numpy as np
import pytest

from envs.errors import UserError
from envs.registry import TASKS
from envs.suites.tabletop.env import MAX_STEP
from envs.suites.tabletop.words import BIN_WIDTH, DIRECTIONS
from policies.action_codec import AnswerCodec, BoxCodec, DiscreteCodec, codec_for

SEEDS = range(200)
SPACE = gym.spaces.Box(np.float32([-1, 0]), np.float32([1, 10]))


@pytest.fixture(params=["reach", "push"])
def chosen(request):
    return TASKS[request.param]


def success_rate(task, decide):
    """The share of SEEDS on which `decide(env) -> (thought, action)` succeeds, encoded and decoded."""
    env, codec, wins = task.make(), codec_for(task), 0
    for seed in SEEDS:
        env.reset(seed=seed)
        ended = False
        while not ended:
            answer = codec.encode(*decide(env))
            assert re.fullmatch(codec.regex, answer)
            _, _, terminated, truncated, info = env.step(codec.decode(answer)[1])
            ended = terminated or truncated
        wins += info["success"]
    env.close()
    return wins / len(SEEDS)


def test_every_combination_of_levels_makes_the_round_trip():
    codec = BoxCodec(SPACE, 9)
    for levels in itertools.product(range(-4, 5), repeat=2):
        text = "move " + " ".join(f"{level:+d}" for level in levels)
        action = codec.decode(text)
        assert re.fullmatch(codec.regex, text)
        assert SPACE.contains(action)
        assert codec.encode(action) == text


def test_levels_span_the_space():
    codec = BoxCodec(SPACE, 9)
    np.testing.assert_array_equal(codec.decode("move -4 -4"), SPACE.low)
    np.testing.assert_array_equal(codec.decode("move +4 +4"), SPACE.high)
    np.testing.assert_allclose(codec.decode("move +0 +0"), [0, 5])
    np.testing.assert_allclose(codec.decode("move +1 -1"), [0.25, 3.75])


def test_actions_take_the_nearest_level():
    codec = BoxCodec(SPACE, 9)
    for action in np.random.default_rng(0).uniform(SPACE.low, SPACE.high, (300, 2)):
        text = codec.encode(action)
        assert re.fullmatch(codec.regex, text)
        assert np.all(np.abs(codec.decode(text) - action) <= [0.125 + 1e-6, 0.625 + 1e-6])
    assert codec.encode(np.array([7.0, -7.0])) == "move +4 -4"  # beyond the space: its border


@pytest.mark.parametrize(
    "text",
    ["", "move", "move +1", "move +1 +2 +3", "move +5 +0", "move 1 2", "stay +1 +2", "move +1 +2 ", "MOVE +1 +2"],
)
def test_what_is_no_action_is_refused_in_one_line(text):
    codec = BoxCodec(SPACE, 9)
    with pytest.raises(UserError) as error:
        codec.decode(text)
    message = str(error.value)
    assert repr(text) in message
    assert codec.regex in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "space", [gym.spaces.Box(-np.inf, np.inf, (2,)), gym.spaces.Box(0, np.inf, (1,)), gym.spaces.Box(-1, 1, (2, 0))]
)
def test_spaces_that_have_no_words_are_refused(space):
    with pytest.raises(UserError, match=r"cannot put actions of Box.* into words.*; valid: .* a bounded Box"):
        BoxCodec(space, 9)


def test_an_array_of_several_dimensions_is_said_row_by_row():
    codec = BoxCodec(gym.spaces.Box(-1, 1, (2, 2), np.float64), 9)
    np.testing.assert_array_equal(codec.decode("move +4 -4 +0 +2"), [[1, -1], [0, 0.5]])
    assert codec.encode(np.array([[1, -1], [0, 0.5]])) == "move +4 -4 +0 +2"
    whole = gym.spaces.Box(0, 4, (), np.int64)
    assert BoxCodec(whole, 5).encode(np.array(3)) == "move +1"
    assert whole.contains(BoxCodec(whole, 5).decode("move +1"))


@pytest.mark.parametrize("levels", [8, 1, 0, -3])
def test_levels_without_a_middle_are_refused(levels):
    with pytest.raises(UserError, match=f"levels = {levels}; valid: an odd number"):
        BoxCodec(SPACE, levels)


def test_a_whole_answer_makes_the_round_trip():
    codec = AnswerCodec(BoxCodec(SPACE, 9), r"see \d+; go \d+")
    answer = codec.encode("see 3; go 4", np.array([0.5, 0.0]))
    assert answer == "see 3; go 4; move +2 -4"
    assert re.fullmatch(codec.regex, answer)
    thought, action = codec.decode(answer)
    assert thought == "see 3; go 4"
    np.testing.assert_allclose(action, [0.5, 0.0])


def test_an_answer_may_have_no_thought():
    codec = AnswerCodec(BoxCodec(SPACE, 9))
    answer = codec.encode("", np.array([0.0, 5.0]))
    assert re.fullmatch(codec.regex, answer)
    assert codec.decode(answer)[0] == ""


def test_the_codec_of_a_task_speaks_its_actions(chosen):
    codec = codec_for(chosen)
    assert len(codec.action.words) == chosen.actions.levels
    assert not re.fullmatch(codec.regex, codec.action.encode(np.zeros(2)))  # the thought is not optional


def test_the_expert_through_the_codec_succeeds(chosen):
    assert success_rate(chosen, chosen.teacher.expert) >= 0.98


def test_the_way_in_the_experts_words_is_enough(chosen):
    """Actions computed from the expert's thought alone succeed: its offset in bins, or straight ahead for `through`."""

    def decide(env):
        thought, _ = chosen.teacher.expert(env)
        if thought.endswith("; through"):
            return thought, np.array(DIRECTIONS[thought.split("; ")[1].split()[-1]])
        way = np.array([int(bins) for bins in thought.split()[-2:]])
        return thought, np.clip(way * BIN_WIDTH / MAX_STEP, -1.0, 1.0)

    assert success_rate(chosen, decide) >= 0.98


def test_discrete_actions_in_words():
    codec = DiscreteCodec(gym.spaces.Discrete(3, start=1), ("left", "still", "right"))
    assert [codec.decode(codec.encode(k)) for k in (1, 2, 3)] == [1, 2, 3]
    assert codec.encode(3) == "move right"
    assert codec.instead("move left", "move right") == "move right other"
    assert codec.instead("move left", "move left") == "move left same"
    assert DiscreteCodec(gym.spaces.Discrete(2)).words == ("0", "1")
    with pytest.raises(UserError, match=r"'move up' does not parse; valid: move \(left"):
        codec.decode("move up")
