"""Practice from archived states of earlier successes. They move towards the start as the policy improves."""

import numpy as np
import pytest

from agent.collect.archive import Archive
from agent.collect.rollout import rollout
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy

PUSH = TASKS["push"]
CODEC = codec_for(PUSH)
EXPERT, RANDOM = ExpertPolicy(PUSH, CODEC), RandomPolicy(CODEC.action.space)
ATTEMPTS = 4


@pytest.fixture(scope="module")
def rare():
    """Four episodes from each of 8 starts: one success and three failures."""
    whole = rollout(PUSH, EXPERT, [(seed, 0) for seed in range(8)], snapshots=True)
    starts = [(seed, k) for seed in range(8) for k in range(1, 9)]
    failures = [e for e in rollout(PUSH, RANDOM, starts, snapshots=True) if not e.success]
    return whole + [e for seed in range(8) for e in [f for f in failures if f.seed == seed][:3]]


def practise(archive, policy):
    """One round of practice from archived states: how many attempts succeed, and the steps they begin at."""
    points, successes = archive.points("push", 99), 0
    for point in points:
        rests = rollout(PUSH, policy, [point.start(k, k) for k in range(ATTEMPTS)])
        successes += sum(e.success for e in rests)
        archive.learn(point, sum(e.success for e in rests), ATTEMPTS)
    return successes, [point.step for point in points]


@pytest.mark.slow
def test_a_good_policy_soon_practises_from_the_start_and_then_no_more(rare):
    archive = Archive(99, np.random.default_rng(0))
    archive.add(rare)
    first = [point.step for point in archive.points("push", 99)]
    assert first
    assert all(point.step == len(point.episode.steps) - 1 for point in archive.points("push", 99))
    for _ in range(4):
        successes, steps = practise(archive, EXPERT)
        assert successes == ATTEMPTS * len(steps)
    assert set(steps) <= {0}
    practise(archive, EXPERT)
    assert archive.points("push", 99) == []


@pytest.mark.slow
def test_a_poor_policy_practises_near_the_goal_where_it_succeeds_at_times(rare):
    archive = Archive(99, np.random.default_rng(0))
    archive.add(rare)
    from_starts = sum(e.success for e in rollout(PUSH, RANDOM, [(s, k) for s in range(8) for k in range(ATTEMPTS)]))
    for _ in range(5):
        successes, _ = practise(archive, RANDOM)
    assert successes > from_starts


def test_easy_starts_are_not_archived_nor_more_than_fit(rare):
    archive = Archive(3, np.random.default_rng(0))
    archive.add([e for e in rare if e.success])
    assert archive.points("push", 99) == []
    archive.add(rare)
    assert len(archive.points("push", 99)) == 3
    assert len(archive.points("push", 2)) == 2
    assert archive.points("reach", 2) == []


def test_a_saved_archive_goes_on_where_it_was(rare, tmp_path):
    archive = Archive(99, np.random.default_rng(0))
    archive.add(rare)
    practise(archive, EXPERT)
    archive.save(tmp_path / "archive")
    again = Archive.load(tmp_path / "archive", 99, np.random.default_rng(1))
    before, after = (sorted(some.points("push", 99), key=lambda point: point.episode.seed) for some in (archive, again))
    assert [(p.episode.seed, p.step) for p in after] == [(p.episode.seed, p.step) for p in before]
    starts = [p.start(9, 9) for p in after]
    assert any(start.moment.snapshot.actions for start in starts)  # stored episodes have no snapshots
    by_actions, by_snapshot = rollout(PUSH, EXPERT, starts), rollout(PUSH, EXPERT, [p.start(9, 9) for p in before])
    assert [e.final_fingerprint for e in by_actions] == [e.final_fingerprint for e in by_snapshot]
    assert Archive.load(tmp_path / "nowhere", 9, np.random.default_rng(0)).points("push", 9) == []
