"""Reacher's language: the action that a thought calls for, and relabelling after a success."""

import numpy as np
import pytest

from agent.collect.rollout import rollout
from agent.organise.selection import examples, follows, hindsight, promising
from envs.observation import Observation
from envs.registry import TASKS
from envs.suites.gymnasium_own.reacher import LANGUAGE, pose
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy

TASK = TASKS["reacher"]
STILL = "arm 24 +0 24 +0"


@pytest.fixture(scope="module")
def expert_episodes():
    quick = TASK.with_env(image_size=8, cameras=("",))
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
    np.testing.assert_allclose(LANGUAGE.called_for(f"target 9 9; pose 24 30; turn {turn}", arm), action, atol=0.01)


def test_a_turn_follows_from_the_pose_that_is_said_the_short_way_round():
    said = "target 9 9; pose 46 30; turn +5 +5"
    assert LANGUAGE.derive(said, "arm 2 -1 24 +0") == "target 9 9; pose 46 30; turn -4 +6"
    assert promising(TASK, Observation(np.zeros(0), "", STILL), "target 9 9; pose 26 24; turn -7 +3; move +5 +0")
    assert not promising(TASK, Observation(np.zeros(0), "", STILL), "target 9 9; pose 26 24; turn +2 +0; move -5 +0")


def test_the_pose_is_where_a_success_was_nearest():
    thoughts = ["target 9 9; pose 20 40; turn -4 +16", "target 9 8; pose 27 31; turn +9 +9"]
    arms = [STILL, "arm 28 +3 30 +2", "arm 29 +0 30 +0"]
    actions = [np.array([0.3, 0.0]), np.zeros(2)]
    rewards = [-0.1, -0.02]  # of the first 0.09 are what its action costs
    proven = ["target 9 9; pose 28 30; turn +4 +6", "target 9 8; pose 28 30; turn +0 +0"]
    assert LANGUAGE.relabel(thoughts, arms, rewards, actions) == proven
    to_the_right = [STILL, "arm 28 +3 20 +2", arms[2]]
    assert LANGUAGE.relabel(thoughts, to_the_right, rewards, actions) == thoughts  # another pose


def test_what_an_expert_proves_is_what_it_said_but_for_a_place(expert_episodes):
    succeeded = [episode for episode in expert_episodes if episode.success]
    assert len(succeeded) > 9
    said = [step for episode in succeeded for step in episode.steps]
    assert all(follows(TASK, step.observation, step.decision.answer) for step in said)
    for before, after in zip(succeeded, hindsight(succeeded), strict=True):
        poses = [
            np.array([step.decision.answer.replace(";", "").split()[4:6] for step in episode.steps], int)
            for episode in (before, after)
        ]
        assert np.abs(np.subtract(*poses)).max() <= 1
    assert len(examples(hindsight(succeeded))) > 0.5 * len(said)
