"""What is random after a reset is found, and a state is followed by other random events, the same for all actions."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from agent.collect.branching import Branching, Point
from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.collect.workers import Job
from agent.config import Branch
from agent.organise.pairs import forks
from agent.organise.store import EpisodeStore
from envs import registry
from envs.checks import random_steps
from envs.foreign.actions import key
from envs.registry import TASKS
from envs.snapshot import Restorable, Way
from policies.action_codec import codec_for
from policies.base import Decision
from policies.baselines import RandomPolicy

RANDOM = ("Windy", "Nested", "Global", "Sampling")
ACTIONS = [0, 1, 1, 0, 1] * 4


def followed(env):
    return [env.step(action)[1] for action in ACTIONS]


def played(task, starts, **settings):
    return rollout(task, RandomPolicy(codec_for(task).action.space), starts, **settings)


def answer(task, action):
    word = codec_for(task).encode("", action)
    return Decision(word, codec_for(task).decode(word)[1])


@pytest.mark.parametrize("way", [Way.COPY, Way.ACTIONS])
@pytest.mark.parametrize("kind", RANDOM)
def test_a_state_is_followed_by_the_same_events_or_by_those_of_a_seed(unclean, kind, way):
    task = unclean(kind)
    env, other = (Restorable(task.make().env, way) for _ in range(2))
    env.reset(seed=1)
    assert not env.has_drawn
    env.step(1)
    assert env.has_drawn
    state, as_it_was = env.snapshot(), followed(env)
    env.restore(state)
    env.redraw(7)
    drawn, later = followed(env), env.snapshot()
    afterwards = followed(env)
    assert drawn != as_it_was
    for again in (env, other):
        again.restore(state)
        assert followed(again) == as_it_was
        again.restore(state)
        again.redraw(7)
        assert followed(again) == drawn
        again.restore(state)
        again.redraw(8)
        assert followed(again) not in (drawn, as_it_was)
        again.restore(later)
        assert followed(again) == afterwards


@pytest.mark.parametrize("name", ["reach", "frozen-lake", "mountain-car"])
def test_where_nothing_is_random_nothing_is_said_to_be(name):
    (episode,) = played(TASKS[name], [(3, 0)])
    assert episode.redrawn is None
    point = Point(episode, 1)
    assert point.start(attempt=1, repeat=0).events is None
    (rest,) = played(TASKS[name], [point.start(attempt=1, repeat=0)])
    assert point.graft(rest).redrawn is None


def test_a_fork_answers_although_this_process_has_drawn_before(tmp_path, monkeypatch):
    """With a GL context of its parent a fork would wait for ever, and each question would take all of its patience."""
    file = tmp_path / "pendulum.yaml"
    file.write_text("id: InvertedPendulum-v5\ninstruction: balance\nsuccess: {of: return, at_least: 9}\nframes: 2\n")
    task, answers, ask = registry.task(str(file)), [], random_steps.answer_of_fork
    env = task.make()
    env.reset(seed=0)
    assert task.observe(env).frames.shape[0] == 2
    env.close()
    monkeypatch.setattr(random_steps, "answer_of_fork", lambda question: answers.append(ask(question)) or answers[-1])
    assert not random_steps.has_random_steps(task)
    assert answers == [False]


@pytest.mark.parametrize("kind", RANDOM)
def test_branches_have_common_events_of_their_own_and_certificates_also_from_disk(unclean, tmp_path, kind):
    task = unclean(kind)
    (root,) = played(task, [(5, 0)], snapshots=True)
    assert root.redrawn == ()
    point, twice = Point(root, 2), []
    starts = [point.start(attempt, repeat, answer(task, action)) for attempt, (repeat, action) in enumerate(PLAYED)]
    rests = played(task, starts)
    for rest in rests:
        whole = point.graft(rest)
        assert [step for step, _ in whole.redrawn] == [2]
        inner = Point(whole, len(whole.steps) - 1)
        (last,) = played(task, [inner.start(whole.attempt + 10, 0)])
        twice.append(inner.graft(last))
        assert [step for step, _ in twice[-1].redrawn] == [2, len(whole.steps) - 1]
    same, again, other = (rest.redrawn for rest in rests)
    assert same == again != other
    assert rests[0].steps[0].fingerprint == root.steps[2].fingerprint
    store = EpisodeStore(tmp_path / "store")
    store.append([root, *(point.graft(rest) for rest in rests), *twice])
    with Verifier() as verifier:
        assert {verifier.flaw(episode) for episode in (root, *rests, *twice)} == {""}
        read = list(EpisodeStore(tmp_path / "store"))
        assert [verifier.flaw(episode) for episode in read] == [""] * len(read)
        wrong = replace(read[1], redrawn=((2, 0),))
        assert "step 3" in verifier.flaw(wrong) or "final" in verifier.flaw(wrong) or "reward" in verifier.flaw(wrong)
    assert [e.redrawn for e in read] == [
        (),
        *(point.graft(rest).redrawn for rest in rests),
        *(e.redrawn for e in twice),
    ]


PLAYED = [(0, 1), (0, 0), (1, 1)]  # repeat, action


def test_each_answer_is_followed_by_the_same_futures_and_the_roots_own_counts_for_none(unclean):
    task, repeats = unclean("Windy"), 3

    def play(title, job):
        return played(task, job.starts, snapshots=job.snapshots)

    workers = SimpleNamespace(query=lambda query, job, observations, draws: [answer(task, d[3] % 2) for d in draws])
    branching = Branching(workers, Job(task.name, None, ()), play, 4, np.random.default_rng(0))
    settings = Branch(starts=2, where="early", answers=2, moments=2, anywhere=1, repeats=repeats)
    found = branching.explore_own([5, 6], settings)
    roots, branches = found[:2], found[2:]
    assert not any(e.redrawn for e in roots)
    assert all(e.redrawn for e in branches)
    first = [e.own[0] for e in branches]
    at_branches = {step.observation.key() for step in first}
    for fork in forks(found):
        steps = [step for some in fork.outcomes.values() for step, _ in some]
        if (seen := steps[0].observation.key()) not in at_branches:
            continue
        assert {id(step) for step in steps} <= {id(step) for step in first}
        assert {len(some) % repeats for some in fork.outcomes.values()} == {0}
        at_branches.remove(seen)
        assert {
            key(e.steps[i].decision.action)
            for e in roots
            for i in range(len(e.steps))
            if e.seed == fork.seed and e.steps[i].observation.key() == seen
        } <= set(fork.outcomes)
    assert not at_branches


def test_what_is_seen_again_is_a_loop_unless_steps_are_random(unclean):
    def endings(kind):
        task = unclean(kind)
        policy = SimpleNamespace(act=lambda observations, rngs: [answer(task, 1)] * len(observations))
        played = rollout(task, policy, [(seed, 0) for seed in range(20)], end_loops=True)
        seen = [[step.observation.key() for step in e.steps] for e in played]
        return {e.ending for e in played}, any(len(set(keys)) < len(keys) for keys in seen)

    assert endings("Clean") == ({"looped"}, False)
    assert endings("Windy") == ({"terminated"}, True)
