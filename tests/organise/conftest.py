"""A store, and episodes of the real task to put into it."""

import pytest

from agent.collect.rollout import rollout
from agent.organise.store import EpisodeStore
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy


@pytest.fixture
def store(tmp_path):
    return EpisodeStore(tmp_path / "episodes")


@pytest.fixture(scope="module")
def played():
    task = TASKS["reach"]
    codec = codec_for(task)
    starts = [(4, 0), (2, 0), (2, 1)]
    policies = ExpertPolicy(task, codec), RandomPolicy(codec.action.space)
    return [episode for policy in policies for episode in rollout(task, policy, starts)]
