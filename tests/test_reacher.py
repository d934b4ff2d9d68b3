"""Reacher in words: what a thought calls for, and what a success proves of it."""

from dataclasses import replace

import numpy as np
import pytest

from agent.rollout import rollout
from agent.selection import examples, follows, hindsight, promising
from envs.observation import Observation
from envs.reacher import called_for, correct, pose, settled
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy

TASK = TASKS["reacher"]
STILL = "arm 24 +0 24 +0"


@pytest.fixture(scope="module")
def expert_episodes():
    quick = replace(TASK, image_size=8, cameras=("",))
    return rollout(quick, ExpertPolicy(quick, codec_for(quick)), [(seed, 0) for seed in range(12)])


def test_the_tip_is_on_the_target_in_the_pose():
    env = TASK.make()
    for seed in range(5):
        env.reset(seed=seed)
        inner = env.unwrapped
        inner.set_state(np.array([*pose(env), *inner.data.qpos[2:]]), inner.data.qvel)
        np.testing.assert_allclose(inner.get_body_com("fingertip")[:2], inner.get_body_com("target")[:2], atol=1e-6)
    env.close()


@pytest.mark.parametrize(
    ("turn", "arm", "action"),
    [
        ("+0 +0", STILL, (0, 0)),
        ("+2 -1", STILL, (0.52, -0.26)),
        ("+9 -9", STILL, (1, -1)),
        ("+0 +1", "arm 3 -3 30 +4", (0.3, -0.14)),  # it brakes
    ],
)
def test_a_thought_calls_for_damped_springs(turn, arm, action):
    np.testing.assert_allclose(called_for(f"target 9 9; pose 24 30; turn {turn}", arm), action, atol=0.01)


def test_a_turn_follows_from_the_pose_that_is_said_the_short_way_round():
    said = "target 9 9; pose 46 30; turn +5 +5"
    assert settled(said, "arm 2 -1 24 +0") == "target 9 9; pose 46 30; turn -4 +6"
    assert promising(TASK, Observation(np.zeros(0), "", STILL), "target 9 9; pose 26 24; turn -7 +3; move +5 +0")
    assert not promising(TASK, Observation(np.zeros(0), "", STILL), "target 9 9; pose 26 24; turn +2 +0; move -5 +0")


def test_the_pose_is_where_a_success_was_nearest():
    thoughts = ["target 9 9; pose 20 40; turn -4 +16", "target 9 8; pose 27 31; turn +9 +9"]
    arms = [STILL, "arm 26 +3 28 +2", "arm 28 +0 30 +0"]
    rewards = [-0.2, -0.01]
    # the wrong pose is put right; the one that was seen closely stays
    proven = ["target 9 9; pose 28 30; turn +4 +6", "target 9 8; pose 27 31; turn +1 +3"]
    assert correct(thoughts, arms, rewards) == proven
    assert correct(thoughts, [*arms[:2], "arm 28 +0 20 +0"], rewards) == thoughts  # bent to the right: another pose


def test_what_an_expert_said_is_proven(expert_episodes):
    succeeded = [episode for episode in expert_episodes if episode.success]
    assert len(succeeded) > 9
    said = [step for episode in succeeded for step in episode.steps]
    assert all(follows(TASK, step.observation, step.decision.answer) for step in said)
    assert [example.answer for example in examples(hindsight(succeeded))] == [step.decision.answer for step in said]
