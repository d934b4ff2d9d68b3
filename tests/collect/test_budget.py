"""The budget counts what was done: steps, rendered frames, answers and verdicts. Certificates are counted apart."""

from dataclasses import replace

import numpy as np
import pytest

from agent.collect.branching import Point
from agent.collect.budget import Meter, Spent
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.collect.workers import Job, Workers, judge, propose
from agent.config import Critic
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.base import Decision
from policies.baselines import RandomPolicy
from policies.critic import Critique

PUSH = TASKS["push"]


def metered(task, policy, starts):
    """The episodes of the starts, and the counts of the meter that listened to them."""
    meter = Meter(starts)
    return rollout(task, policy, starts, subscribers=[meter]), meter.spent


@pytest.fixture
def rendered(monkeypatch):
    """A list that grows by one each time the tabletop renders a frame."""
    drawn, kind = [], type(PUSH.make().unwrapped)
    picture = kind.picture

    def counting(env, camera, size):
        drawn.append(env)
        return picture(env, camera, size)

    monkeypatch.setattr(kind, "picture", counting)
    return drawn


@pytest.mark.parametrize("frames", [1, 3])
def test_pictures_are_counted_that_are_rendered(rendered, monkeypatch, frames):
    task = replace(PUSH.with_env(frames=frames), name="history")
    monkeypatch.setitem(TASKS, "history", task)
    policy = RandomPolicy(codec_for(task).action.space)
    episodes, spent = metered(task, policy, [(1, 0), (2, 0)])
    steps = sum(len(e.steps) for e in episodes)
    assert (spent.env_steps, spent.decisions, spent.proposals) == (steps, steps, steps)
    assert spent.frames == len(rendered) == steps + 2
    rendered.clear()
    with Verifier() as verifier:
        assert [verifier.flaw(e) for e in episodes] == ["", ""]
    assert (verifier.spent.certificates, verifier.spent.verify_env_steps) == (2, steps)
    assert verifier.spent.verify_frames == len(rendered) == steps + 2


@pytest.mark.parametrize("frames", [1, 3])
def test_the_way_back_to_a_state_is_counted_apart(rendered, monkeypatch, frames):
    task = replace(PUSH.with_env(frames=frames), name="history")
    monkeypatch.setitem(TASKS, "history", task)
    policy = RandomPolicy(codec_for(task).action.space)
    ((episode,), _) = metered(task, policy, [(1, 0)])
    rendered.clear()
    ((rest,), spent) = metered(task, policy, [Point(episode, 3).start(attempt=1, repeat=0)])
    assert (spent.restore_env_steps, spent.env_steps) == (3, len(rest.steps))
    assert spent.frames == len(rendered) == len(rest.steps) + (4 if frames > 1 else 0)
    rendered.clear()
    with Verifier() as verifier:
        assert verifier.flaw(rest) == ""
    assert verifier.spent.verify_env_steps == 3 + len(rest.steps)
    assert verifier.spent.restore_env_steps == verifier.spent.env_steps == 0
    assert verifier.spent.verify_frames == len(rendered)


def test_an_answer_that_is_given_was_not_asked_for():
    policy = RandomPolicy(codec_for(PUSH).action.space)
    ((episode,), _) = metered(PUSH, policy, [(1, 0)])
    given = Decision("", np.zeros(2, np.float32))
    ((rest,), spent) = metered(PUSH, policy, [Point(episode, 3).start(attempt=1, repeat=0, first=given)])
    assert spent.decisions == spent.env_steps - 1 == len(rest.steps) - 1


def test_proposals_and_verdicts_of_answers():
    spent, action = Spent(), np.zeros(2, np.float32)
    plain, judged = Decision("a", action), Decision("a", action, 0.9)
    chosen = Decision("b", action, 0.9, (("a", 0.1), ("b", 0.9), ("c", 0.2)))
    spent.answered([plain, judged, chosen, Critique(0.5, "")])
    assert spent == Spent(proposals=5, critiques=5)


def test_counts_add_up():
    one = Spent(env_steps=1, critiques=2)
    one += Spent(env_steps=3, frames=4)
    assert one == Spent(env_steps=4, critiques=2, frames=4)


@pytest.mark.slow
def test_workers_hand_their_counts_back(nano_checkpoint):
    job = Job("reach", nano_checkpoint, [(seed, 0) for seed in range(3)], critic=Critic(proposals=2), certify=True)
    spent = []
    for n in (1, 2):
        with Workers(n) as workers:
            episodes = workers.rollout(job)
            played = workers.take_spent()
            steps = [step for e in episodes for step in e.steps]
            seen = [step.observation for step in steps]
            workers.query(judge, job, seen[:5], [step.decision.answer for step in steps[:5]])
            workers.query(propose, job, seen[:4], [(i,) for i in range(4)])
            workers.certify(episodes)
            spent.append((played, workers.take_spent()))
            assert workers.take_spent() == Spent()
    assert spent[0] == spent[1]
    played, asked = spent[0]
    n = len(steps)
    assert (played.env_steps, played.decisions, played.proposals, played.critiques) == (n, n, 2 * n, 2 * n)
    assert (played.verify_env_steps, played.certificates) == (n, 3)
    expected = Spent(critiques=5 + 8, proposals=8, verify_env_steps=n, verify_frames=n + 3, certificates=3)
    assert asked == expected
