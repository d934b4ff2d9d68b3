"""Replicas of the policy, in Ray actors, answer for the workers: the episodes of one process, also where one dies.

Ray takes one GPU to be here, which is none: it divides it and hides it all the same.
"""

import os
import shutil
import time

import pytest
from test_ray_engine import STARTS, alone, assert_same, place  # noqa: F401 (fixtures)

from agent.collect.cluster import connection, weights
from agent.collect.cluster.replicas import Answering
from agent.collect.processes.recovery import Calls
from agent.collect.processes.serving import Call
from agent.collect.workers import Job, Workers, propose, release
from agent.config import Engine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two():
    pytest.importorskip("ray", reason="the extra ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "_gpus", lambda: 1)
        with Workers(2, engine=Engine("ray", policies=2, gpus=0.5)) as workers:
            for pool in (workers._replicas, workers._pool):
                start(pool)
            yield workers


def start(pool):
    """All actors of a pool, so that all take part in what is quick."""
    from agent.collect.cluster.pool import _listen

    nothing = Calls("nothing", [])
    while not all(actor and actor.is_ready for actor in pool._actors.values()):
        pool._start()
        _listen([(pool, nothing)])
    pool.run(Calls("sleeps", [Call(time.sleep, (0.01,))] * pool.n))


@pytest.fixture(scope="module")
def job(place, nano_checkpoint):  # noqa: F811
    return Job(str(place / "fatal.yaml"), nano_checkpoint, STARTS, temperature=1.0, n_envs=2, certify=True)


@pytest.fixture
def batches(monkeypatch):
    """The replica of each batch."""
    replicas, take = [], Answering.take

    def taken(self, replica):
        if call := take(self, replica):
            replicas.append(replica)
        return call

    monkeypatch.setattr(Answering, "take", taken)
    return replicas


def test_replicas_decide_as_one_process_does(two, job, alone, batches):  # noqa: F811
    assert_same(two.rollout(job), alone[0])
    assert two.take_spent() == alone[1]
    assert set(batches) == {0, 1}


@pytest.mark.parametrize("what", ["process", "actor"])
def test_a_replica_that_dies_costs_nothing_but_time(what, two, job, alone, batches, monkeypatch, capsys):  # noqa: F811
    take = Answering.take

    def taken(self, replica):
        call = take(self, replica)
        if call is None or len(batches) != 4:
            return call
        if what == "actor":
            two._replicas._actors[replica].kill()
        return Call(os._exit, (1,))

    monkeypatch.setattr(Answering, "take", taken)
    assert_same(two.rollout(job), alone[0])
    assert len(batches) == 17  # one of them twice
    assert ("a policy replica was lost" in capsys.readouterr().out) == (what == "actor")


def test_a_checkpoint_that_replicas_do_not_see_is_sent_once(two, job, alone, monkeypatch, nano_checkpoint):  # noqa: F811
    monkeypatch.setattr(weights, "mark", lambda checkpoint, mark=weights.mark: f"sent-{mark(checkpoint)}")
    asked, files_of = [], two._replicas._files_of
    monkeypatch.setattr(two._replicas, "_files_of", lambda checkpoint: asked.append(checkpoint) or files_of(checkpoint))
    copy = weights.copies() / weights.mark(nano_checkpoint)
    assert not copy.exists()
    assert_same(two.rollout(job), alone[0])
    assert (copy / "config.json").read_bytes() == (nano_checkpoint / "config.json").read_bytes()
    shutil.rmtree(copy)
    assert 1 <= len(asked) <= 2


def test_replicas_are_queried(two, job, alone):  # noqa: F811
    seen = [e.steps[0].observation for e in alone[0]]
    answers = two.query(propose, job, seen, STARTS)
    with Workers(1) as one:
        others = one.query(propose, job, seen, STARTS)
    assert [d.answer for d in answers] == [d.answer for d in others]


def test_replicas_see_their_gpu_and_workers_none(two):
    found = {}
    for pool in (two._replicas, two._pool):
        work = Calls("the environment", [Call(os.getenv, ("CUDA_VISIBLE_DEVICES",))] * 2)
        pool.run(work)
        found[pool] = work.results
    assert found == {two._replicas: ["0", "0"], two._pool: ["", ""]}


def test_a_training_finds_no_replica_on_a_gpu(two):
    release()
    assert list(two._replicas._actors.values()) == [None, None]
