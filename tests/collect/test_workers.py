"""Several processes play the same episodes as one; an error in a worker is raised by the caller."""

import subprocess
import sys

import pytest
from test_rollout import Listener, assert_same

from agent.collect.workers import Job, Workers
from agent.config import Critic
from envs.errors import UserError
from policies.backends.settings import ModelSettings
from policies.critic import Critique
from policies.mllm import MLLMPolicy

pytestmark = pytest.mark.slow
STARTS = [(seed, attempt) for seed in range(3) for attempt in range(2)]


@pytest.fixture(scope="module")
def two():
    with Workers(2) as workers:
        yield workers


def test_two_workers_play_what_one_plays(two, nano_checkpoint):
    job = Job("reach", nano_checkpoint, STARTS[:5], temperature=1.0, critic=Critic(revisions=1, threshold=0.0))
    listener = Listener()
    episodes = two.rollout(job, [listener])
    with Workers(1) as one:
        alone = one.rollout(job)
    assert_same(episodes, alone)
    assert [(e.seed, e.attempt) for e in episodes] == STARTS[:5]
    verdicts = [[step.decision.verdict for step in e.steps] for e in episodes]
    for some, e in zip(verdicts, alone, strict=True):
        assert some == pytest.approx([step.decision.verdict for step in e.steps], abs=1e-5)
    assert sorted((e.seed, e.attempt) for e in listener.heard) == STARTS[:5]


def test_fewer_starts_than_workers(two, nano_checkpoint):
    (episode,) = two.rollout(Job("push", nano_checkpoint, [(4, 0)]))
    assert episode.seed == 4


def test_an_error_in_a_worker_is_raised_here(two, tmp_path):
    with pytest.raises(UserError, match="no checkpoint in"):
        two.rollout(Job("reach", tmp_path / "nowhere", STARTS))


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\n"
        "from agent.collect.workers import Workers\n"
        "from agent.organise.episode import Episode\n"
        "if __name__ == '__main__':\n"
        "    with Workers(2) as workers:\n"
        "        workers.certify([Episode('reach', seed, ending='broken', error='boom') for seed in range(2)])\n"
        "        print(workers.pids(), flush=True)\n"
        "        time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline().count(b",") == 1
        parent.kill()
        parent.communicate(timeout=60)  # ends once no worker holds the pipe


def test_one_process_acts_for_the_environments_of_all(two, nano_checkpoint):
    model = ModelSettings(shared=True)
    job = Job("reach", nano_checkpoint, STARTS[:5], temperature=1.0, critic=Critic(proposals=2), model=model)
    episodes = two.rollout(job)
    assert two.take_spent().critiques > 0
    with Workers(1) as one:
        assert_same(episodes, one.rollout(job))
    assert_same(two.rollout(job), episodes)  # nothing of the first rollout waits for the second


def test_the_process_that_acts_is_queried_for_all_at_once(nano_checkpoint):
    sizes = []

    def query(policy, observations, details):
        sizes.append(len(observations))
        return [Critique(0.5, "") for _ in observations]

    job = Job("reach", nano_checkpoint, n_envs=4, model=ModelSettings(shared=True))
    with Workers(2) as workers:
        workers.query(query, job, [None] * 10, [None] * 10)
    assert sizes == [8, 2]


def test_an_error_of_the_process_that_acts_ends_its_workers(nano_checkpoint, monkeypatch):
    def broken(self, observations, seeds):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(MLLMPolicy, "decide", broken)
    with Workers(2) as workers, pytest.raises(RuntimeError, match="out of memory"):
        workers.rollout(Job("reach", nano_checkpoint, STARTS, model=ModelSettings(shared=True)))
