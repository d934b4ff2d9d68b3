"""Branches: a state is restored exactly, other answers are played from there, and only new steps are counted."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from agent.collect import branching
from agent.collect.branching import Branching, Point, claim, distinct, distinct_moments
from agent.collect.rollout import Start, rollout
from agent.collect.verify import Verifier, deny
from agent.collect.workers import Job, Workers, judge, propose
from agent.config import Branch, Margin
from agent.organise.episode import Episode
from agent.organise.pairs import flipped, forks, pairs
from agent.organise.selection import examples, keep
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.base import Decision
from policies.baselines import ExpertPolicy, RandomPolicy

A, B, C = (1, 0), (0, 1), (-1, 0)
PUSH = TASKS["push"]
CODEC = codec_for(PUSH)


@pytest.fixture(scope="module")
def expert_episode():
    (episode,) = rollout(PUSH, ExpertPolicy(PUSH, CODEC), [(3, 0)], snapshots=True)
    return episode


class Blundering(RandomPolicy):
    """Acts at random; its answers are text."""

    def act(self, observations, rngs):
        thought = "red cube 1 2; red pad 3 4 left; behind 5 6 +1 +1"
        answers = [CODEC.encode(thought, d.action) for d in super().act(observations, rngs)]
        return [Decision(answer, CODEC.decode(answer)[1]) for answer in answers]


@pytest.fixture(scope="module")
def failures():
    """Failures of push by random moves."""
    policy = Blundering(CODEC.action.space)
    played = rollout(PUSH, policy, [(s, 0) for s in range(6)], snapshots=True)
    return [episode for episode in played if not episode.success]


def actions(episode):
    return [step.decision.action.tolist() for step in episode.steps]


# moments ---------------------------------------------------------------------------------------------------------
def test_playing_on_from_a_moment_is_what_happened(expert_episode):
    for step in range(len(expert_episode.steps)):
        point = Point(expert_episode, step)
        (rest,) = rollout(PUSH, ExpertPolicy(PUSH, CODEC), [point.start(attempt=7, repeat=0)])
        whole = point.graft(rest)
        assert whole.success
        assert (whole.attempt, whole.branched_at) == (7, step)
        assert [s.fingerprint for s in whole.steps] == [s.fingerprint for s in expert_episode.steps]
        assert whole.final_fingerprint == expert_episode.final_fingerprint
        assert whole.own == whole.steps[step:]
        with Verifier() as verifier:
            assert verifier.flaw(rest) == verifier.flaw(whole) == ""


def test_the_first_answer_is_given_and_chance_is_common(expert_episode):
    policy, point = RandomPolicy(CODEC.action.space), Point(expert_episode, 1)
    first, other = (Decision("", np.array(action, np.float32)) for action in ((0, 0), (0.5, 0)))
    starts = [point.start(i, repeat, answer) for i, (repeat, answer) in enumerate([(0, first), (0, other), (1, first)])]
    same, different, again = rollout(PUSH, policy, starts)
    assert actions(same)[0] == [0, 0]
    assert actions(different)[0] == [0.5, 0]
    assert actions(same)[1:] == actions(different)[1 : len(same.steps)]
    assert actions(same)[1:] != actions(again)[1:]


def test_branches_do_not_depend_on_what_is_played_beside_them(failures):
    policy = RandomPolicy(CODEC.action.space)
    starts = [Point(e, 2 + i).start(9 + i, 0) for i, e in enumerate(failures)] + [Start(e.seed, 0) for e in failures]
    together, alone = rollout(PUSH, policy, starts, n_envs=8), rollout(PUSH, policy, starts[::-1], n_envs=1)[::-1]
    for a, b in zip(together, alone, strict=True):
        assert [s.fingerprint for s in a.steps] == [s.fingerprint for s in b.steps]
        assert a.final_fingerprint == b.final_fingerprint


# where -----------------------------------------------------------------------------------------------------------
def searching(truth):
    """A Branching whose second repeats succeed up to step `truth[seed]`, and how many starts it played each time.

    The outcome of an episode is given by `truth`; no environment is stepped.
    """
    played = []

    def play(title, job):
        played.append(len(job.starts))
        ends = [(start, start.draws[1] <= truth[start.seed] and start.draws[2] == 1) for start in job.starts]
        return [Episode("push", start.seed, start.attempt, success=success) for start, success in ends]

    return Branching(None, Job("push", None, ()), play, 100, np.random.default_rng(0)), played


def test_bisection_finds_the_last_moment_not_lost(failures):
    episodes = [replace(failures[0], seed=seed) for seed in range(len(failures[0].steps))]
    branching, played = searching({e.seed: e.seed for e in episodes})
    points, branches = branching.last_chances(episodes, repeats=2)
    assert [point.step for point in points] == [e.seed for e in episodes]
    assert len(played) == 4  # log2 of 16 steps
    assert sum(played) == len(branches)
    assert len({(b.seed, b.attempt) for b in branches}) == len(branches)
    assert min(b.attempt for b in branches) == 100


@pytest.mark.parametrize(("verdicts", "step"), [([0.9, 0.4, 0.1], 1), ([0.9, 0.6, 0.7], 1), ([0.2], 0)])
def test_the_critics_claim_is_the_first_step_that_will_not_work(verdicts, step):
    assert claim(verdicts) == step


def test_moments_are_those_that_look_new(episode):
    stuck = episode([A, B, B, C])
    again = stuck.steps[2].observation
    stuck.steps[3] = replace(stuck.steps[3], observation=again)
    assert distinct_moments(stuck) == [0, 1, 2]


def test_distinct_answers_act_differently():
    moves = [Decision(text, np.array(a, np.float32)) for text, a in (("x", A), ("y", A), ("z", B), ("w", C))]
    assert [d.answer for d in distinct(moves, 2)] == ["x", "z"]
    assert len(distinct(moves, 9)) == 3
    assert [d.answer for d in distinct(moves, 2, but=moves[:1])] == ["z", "w"]


# explore, with a model -------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("where", ["bisect", "critic", "uniform", "early"])
def test_exploring_measures_distinct_answers_to_what_was_seen(
    where, failures, nano_checkpoint, monkeypatch, any_action
):
    monkeypatch.setitem(TASKS, "push", any_action(PUSH))  # else no answer of random weights is tried
    settings = Branch(failures=2, where=where, answers=3, repeats=2)
    job = Job("push", nano_checkpoint, (), temperature=1.0, certify=True)
    with Workers(1) as workers:
        branching = Branching(workers, job, lambda title, job: workers.rollout(job), 1, np.random.default_rng(0))
        branches, agreement = branching.explore(failures, settings), branching.agreement()
    assert set(agreement) == ({"critic_exact", "critic_within_1"} if where == "bisect" else set())
    assert {e.ending for e in branches} <= {"terminated", "truncated"}
    measured = branches[-12:]
    for point in (measured[:6], measured[6:]):
        first = [e.own[0] for e in point]
        assert len({step.observation.key() for step in first}) == 1
        assert len({step.decision.action.tobytes() for step in first}) == 3
        assert [step.decision.answer for step in first[::2]] == [step.decision.answer for step in first[1::2]]
    with Verifier() as verifier:
        assert [verifier.flaw(e) for e in branches] == [""] * len(branches)


@pytest.mark.slow
def test_roots_are_played_as_branches_are_followed(nano_checkpoint, monkeypatch, any_action):
    """Roots are greedy, as branches are after their first answer, so that they are what the policy would do."""
    monkeypatch.setitem(TASKS, "push", any_action(PUSH))
    settings = Branch(starts=2, where="uniform", moments=3, answers=2)
    job = Job("push", nano_checkpoint, (), certify=True)
    with Workers(1) as workers:
        branching = Branching(workers, job, lambda title, job: workers.rollout(job), 4, np.random.default_rng(0))
        played = branching.explore_own([1, 2], settings)
        again = workers.rollout(replace(job, starts=[(1, 0), (2, 0)]))
    roots, branches = played[:2], played[2:]
    assert [(e.seed, e.attempt) for e in roots] == [(1, 4), (2, 4)]
    assert [actions(e) for e in roots] == [actions(e) for e in again]
    assert min(e.attempt for e in branches) == 5
    assert {len({e.branched_at for e in branches if e.seed == seed}) for seed in (1, 2)} == {3}


@pytest.mark.slow
def test_whatever_else_it_might_answer_is_tried_anywhere(nano_checkpoint, monkeypatch):
    """Also an answer whose action follows from no thought: the critic learns from such answers too."""
    monkeypatch.setattr(branching, "promising", lambda task, observation, answer: False)
    job = Job("push", nano_checkpoint, (), certify=True)
    with Workers(1) as workers:
        chosen = Branching(workers, job, lambda title, job: workers.rollout(job), 4, np.random.default_rng(0))
        played = chosen.explore_own([1, 2], Branch(starts=2, where="early", answers=3, anywhere=2))
    roots, branches = played[:2], played[2:]
    for root in roots:
        tried = [e for e in branches if e.seed == root.seed]
        assert [e.branched_at for e in tried[::2]] == [e.branched_at for e in tried[1::2]]
        assert len({e.branched_at for e in tried}) == 2
        for one, other in zip(tried[::2], tried[1::2], strict=True):
            acts = [actions(e)[one.branched_at] for e in (root, one, other)]
            assert len({tuple(a) for a in acts}) == 3


def test_no_failures_no_branches(expert_episode):
    branching = Branching(None, Job("push", None, ()), None, 1, np.random.default_rng(0))
    assert branching.explore([expert_episode], Branch(failures=3)) == []
    assert branching.agreement() == {}


def test_nothing_is_tried_where_a_root_got_no_certificate(expert_episode):
    root = replace(expert_episode)
    deny(root, "another reward")
    nothing_asked = SimpleNamespace(query=lambda query, job, observations, details: list(observations))
    branching = Branching(nothing_asked, Job("push", None, ()), lambda title, job: [root], 1, np.random.default_rng(0))
    assert branching.explore_own([3], Branch(starts=1, where="early", anywhere=2)) == [root]


@pytest.mark.slow
def test_two_workers_answer_as_one(nano_checkpoint, failures):
    job = Job("push", nano_checkpoint, (), temperature=1.0, n_envs=2)
    observations = [step.observation for step in failures[0].steps[:5]]
    draws = [(1, i) for i in range(5)]
    with Workers(2) as two, Workers(1) as one:
        answers = [[d.answer for d in workers.query(propose, job, observations, draws)] for workers in (one, two)]
        critiques = [workers.query(judge, job, observations, answers[0]) for workers in (one, two)]
        verdicts = [[c.verdict for c in some] for some in critiques]
    assert answers[0] == answers[1]
    assert verdicts[0] == pytest.approx(verdicts[1])


# selection -------------------------------------------------------------------------------------------------------
@pytest.fixture
def branched(episode):
    """A failed episode A C C and three branches from its second step: B A and A succeed, C fails."""
    failure = episode([A, C, C])
    tries = [
        episode([A, *moves], success, attempt=i)
        for i, (moves, success) in enumerate([((B, A), True), ((A,), True), ((C,), False)], start=1)
    ]
    return [failure, *(replace(attempt, branched_at=1) for attempt in tries)]


def test_only_a_branchs_own_steps_are_learned_from(branched):
    assert [e.attempt for e in keep(branched, 1)] == [2]
    assert [e.answer for e in examples(keep(branched, 2))] == ["move +1 +0", "move +0 +1", "move +1 +0"]


def test_a_start_and_a_moment_are_kept_from_apart(branched, episode):
    direct = episode([B, B, B, B], True, attempt=9)
    assert [e.attempt for e in keep([*branched, direct], 1)] == [2, 9]


def test_a_branch_is_compared_where_it_left(branched):
    (fork,) = forks(branched)
    assert {len(steps) for steps in fork.outcomes.values()} == {1, 2}  # C: the failure itself, and again
    (pair,) = pairs(branched, Margin(0.5, 0.5), 9)
    assert (pair.chosen, pair.rejected, pair.margin) == ("move +1 +0", "move -1 +0", (1.0, pytest.approx(2 / 3)))


@pytest.mark.parametrize(("p_value", "n"), [(1.0, 1), (0.34, 1), (0.3, 0)])
def test_counts_have_to_support_a_pair(branched, p_value, n):
    assert len(pairs(branched, Margin(0.5, 0.5), 9, p_value)) == n  # 1 of 1 against 0 of 2: p = 1/3


def test_flipping_tosses_a_coin_for_each_pair(branched):
    (pair,) = pairs(branched, Margin(0.5, 0.5), 9)
    made = flipped([pair] * 400, np.random.default_rng(0))
    turned = [p.chosen == pair.rejected and p.rejected == pair.chosen for p in made]
    assert 160 < sum(turned) < 240
    assert all(p == pair for p, t in zip(made, turned, strict=True) if not t)
