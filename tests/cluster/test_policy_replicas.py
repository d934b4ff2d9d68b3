"""Replicas of the policy, in Ray actors, answer for the workers: the episodes of one process, also where one dies."""

import pytest
from test_ray_engine import STARTS, alone, assert_same, place  # noqa: F401 (fixtures)

from agent.collect.workers import Job, Workers
from agent.config import Engine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two():
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with Workers(2, engine=Engine("ray", policies=2)) as workers:
        yield workers


@pytest.fixture(scope="module")
def job(place, nano_checkpoint):  # noqa: F811
    return Job(str(place / "fatal.yaml"), nano_checkpoint, STARTS, temperature=1.0, n_envs=2, certify=True)


def test_replicas_answer_as_one_process_does(two, job, alone):  # noqa: F811
    assert_same(two.rollout(job), alone[0])
    assert two.take_spent() == alone[1]
