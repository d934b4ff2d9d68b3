"""Questions of workers before replicas of the policy: batches, answers, replicas and workers that die; without Ray."""

import numpy as np
import pytest

from agent.collect.actor import Ask
from agent.collect.cluster import connection
from agent.collect.cluster.connection import check_engine
from agent.collect.cluster.replicas import Answering, grouped
from agent.collect.processes.pool import Death
from agent.collect.processes.recovery import LOST
from agent.collect.processes.serving import Call
from agent.commands.checks import check_improve
from agent.config import Config, Engine
from envs.errors import UserError
from envs.observation import Observation
from policies.backends.settings import ModelSettings

KILLED, LOST_NODE = Death("was killed", 0, None), Death("was lost: its node died", 0, None, is_lost=True)


def ask(*seeds):
    return Ask([Observation(np.zeros((1, 4, 4, 3), np.uint8), f"seed {seed}") for seed in seeds], seeds)


@pytest.fixture
def answering():
    """Two workers a group. A call has the seeds that it is to decide for."""
    return Answering("observations of 'toy'", lambda observations, seeds: Call(len, (list(seeds),)), group=2)


def seeds(call):
    return call.args[0]


@pytest.mark.parametrize(("sizes", "group"), [((625, 16, 64), 8), ((2, 2, 2), 1), ((8, 1, 2), 4), ((9, 1000, 1), 1)])
def test_a_group_fills_a_batch_and_leaves_none_of_the_replicas_without(sizes, group):
    assert grouped(*sizes) == group


def test_a_group_is_answered_once_all_of_it_that_play_wait(answering):
    playing = [0, 1, 2]
    answering.ask(1, ask(2, 3))
    assert answering.answers(playing) == {}
    assert answering.take(0) is None
    answering.ask(2, ask(4))
    answering.ask(0, ask(0, 1))
    assert answering.answers(playing) == {}
    assert seeds(answering.take(0)) == [0, 1, 2, 3]
    assert seeds(answering.take(1)) == [4]
    answering.returned(0, ["a", "b", "c", "d"])
    assert answering.answers(playing) == {0: ["a", "b"], 1: ["c", "d"]}
    assert answering.answers(playing) == {}
    assert not answering.is_done
    answering.returned(1, ["e"])
    assert answering.is_done
    assert answering.answers(playing) == {2: ["e"]}


@pytest.mark.parametrize("death", [KILLED, LOST_NODE])
def test_the_batch_of_a_replica_that_dies_is_asked_again_and_first(answering, death):
    for worker in range(4):
        answering.ask(worker, ask(worker))
    answering.answers(range(4))
    assert seeds(answering.take(0)) == [0, 1]
    answering.died(0, death)
    assert [seeds(answering.take(replica)) for replica in (1, 0)] == [[0, 1], [2, 3]]


def test_replicas_that_die_over_the_same_batch_end_the_run(answering):
    answering.ask(0, ask(0))
    answering.answers([0])
    for _ in range(LOST - 1):
        answering.take(0)
        answering.died(0, KILLED)
    answering.take(0)
    with pytest.raises(
        UserError, match=rf"^{LOST} times, a policy replica was killed over the same observations of 't"
    ):
        answering.died(0, KILLED)


@pytest.fixture
def widowed(answering):
    """A replica is at the questions of two workers, of which the first has died."""
    answering.ask(0, ask(0))
    answering.ask(1, ask(1))
    answering.answers([0, 1])
    answering.take(0)
    answering.forget(0)
    return answering


def test_nobody_hears_what_a_dead_worker_asked(widowed):
    widowed.ask(0, ask(2))  # its replacement
    assert widowed.answers([0, 1]) == {}
    widowed.returned(0, ["a", "b"])
    assert widowed.answers([0, 1]) == {1: ["b"]}
    widowed.forget(0)
    assert widowed.is_done


def test_what_a_dead_worker_asked_is_not_asked_again(widowed):
    widowed.died(0, KILLED)
    assert seeds(widowed.take(0)) == [1]
    widowed.forget(1)
    widowed.died(0, KILLED)
    assert widowed.take(0) is None
    assert widowed.is_done


# the config ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (Engine(policies=2), "engine.policies = 2, and engine.kind = 'local' has none; valid: 0, or kind: ray"),
        (Engine("ray", gpus=1), "engine.gpus = 1 of each replica, and engine.policies = 0; valid: 0, or policies"),
        (
            Engine("ray", policies=5, gpus=0.5),
            "engine.policies = 5 of engine.gpus = 0.5 on a machine of 2 GPUs; valid: at most 4, ",
        ),
    ],
)
def test_replicas_that_cannot_be_are_one_line(engine, why, monkeypatch):
    monkeypatch.setattr(connection, "_gpus", lambda: 2)
    with pytest.raises(UserError) as raised:
        check_engine(engine)
    assert str(raised.value).startswith(why)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"policy": "http://127.0.0.1:1/v1#m"}, "policy is a server, which the workers ask; valid: 0, or a checkpoint"),
        (
            {"model": ModelSettings(device="cuda")},
            "model.device = 'cuda' without engine.gpus; valid: gpus, or device: cpu",
        ),
        ({"model": ModelSettings(shared=False)}, "each worker holds the policy; valid: 0, or shared: auto, true"),
    ],
)
def test_a_policy_that_replicas_are_not_asked_for_is_one_line(changed, why, monkeypatch):
    monkeypatch.setattr(connection, "find_spec", lambda name: name)
    config = Config(**{"policy": "seed", "tasks": ("reach",), "engine": Engine("ray", policies=2)} | changed)
    with pytest.raises(UserError, match=why):
        check_improve(config)
