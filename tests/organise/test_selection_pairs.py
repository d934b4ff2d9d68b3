"""Selection and pairs: the shortest successes, and measured preferences where attempts first differ."""

from dataclasses import replace

import numpy as np
import pytest

from agent.config import Margin
from agent.organise.outcome import Outcome
from agent.organise.pairs import forks, pairs
from agent.organise.selection import as_judged, by_start, examples, keep
from envs.registry import TASKS
from policies import prompt
from policies.critic import Critique

A, B, C = (1, 0), (0, 1), (-1, 0)
HALF = Margin(0.5, 0.5)
TENTH = Margin(0.1, 0.1)


@pytest.fixture
def to_and_fro(episode):
    """A success in four steps, the third of which sees what the first saw."""
    made = episode([A, C, B, A], True)
    first, _, third, _ = made.steps
    made.steps[2] = replace(third, observation=first.observation)
    return made


# selection -------------------------------------------------------------------------------------------------------
def test_the_shortest_success_of_each_start_is_kept(episode):
    long, short = episode([A, A, A], True, seed=1), episode([A, A], True, seed=1, attempt=1)
    failure, other = episode([A], False, seed=1, attempt=2), episode([A, B, A, B], True, seed=2)
    assert keep([long, short, failure, other], 1) == [short, other]


def test_of_random_futures_the_answer_that_succeeds_most_often_is_kept_and_not_the_luckiest(episode):
    """After A: B succeeds in 1 of 3 futures, and soonest; C in 2 of 3."""
    tried = {B: [[B], [B, C], [B, C]], C: [[C, A], [C, A, A], [C]]}
    wins = {B: (True, False, False), C: (True, True, False)}
    branches = [
        replace(episode([A, *moves], won, attempt=10 * n + i), branched_at=1, redrawn=((1, i),))
        for n, answer in enumerate(tried)
        for i, (moves, won) in enumerate(zip(tried[answer], wins[answer], strict=True))
    ]
    root = episode([A, B, B, A, A], False, attempt=99)
    assert [e.attempt for e in keep([root, *branches], 1)] == [10]
    assert [e.attempt for e in keep([root, *branches], 9)] == [10, 11]
    recorded = [replace(e, redrawn=None) for e in branches]
    assert [e.attempt for e in keep([root, *recorded], 9)] == [0, 10, 11]


def test_at_most_so_many_of_a_start(episode):
    attempts = [episode([A] * (5 - i), True, seed=1, attempt=i) for i in range(4)]
    attempts += [episode([A] * 9, True, seed=2)]
    assert [(e.seed, e.attempt) for e in keep(attempts, 2)] == [(1, 3), (1, 2), (2, 0)]
    assert len(keep(attempts, 9)) == 5


def test_equal_lengths_keep_the_earlier_attempt(episode):
    attempts = [episode([A], True, attempt=i) for i in (2, 0, 1)]
    assert keep(attempts, 1)[0].attempt == 0


def test_the_same_seed_of_two_tasks_is_two_starts(episode):
    attempts = [episode([A], True, task="reach"), episode([A, A], True, task="push")]
    assert len(keep(attempts, 1)) == 2
    assert set(by_start(attempts)) == {("reach", 0), ("push", 0)}


def test_broken_episodes_are_left_out(episode):
    broken = episode([A], True, ending="broken")
    assert keep([broken], 1) == []
    assert by_start([broken]) == {}


def test_examples_are_what_was_seen_and_answered(episode):
    kept = [episode([A, B], True), episode([C], True, seed=3)]
    made = examples(kept)
    assert [e.answer for e in made] == ["move +1 +0", "move +0 +1", "move -1 +0"]
    step = kept[0].steps[1]
    assert made[1].prompt == prompt.act(step.observation)
    np.testing.assert_array_equal(made[1].frames, step.observation.frames)


# forks -----------------------------------------------------------------------------------------------------------
def outcomes(fork):
    """Answer -> outcomes of the episodes that gave it: success, and the share of the steps left that was saved."""
    return {
        steps[0][0].decision.answer: sorted((value.success, round(value.saved, 3)) for _, value in steps)
        for steps in fork.outcomes.values()
    }


def frames(fork):
    return {step.observation.frames.tobytes() for steps in fork.outcomes.values() for step, _ in steps}


def test_attempts_part_ways_where_actions_first_differ(episode):
    attempts = [episode([A, B, A], True), episode([A, C, B], attempt=1), episode([A, C, A], True, attempt=2)]
    found = list(forks(attempts))
    assert [outcomes(fork) for fork in found] == [
        {"move +0 +1": [(1, 0.333)], "move -1 +0": [(0, 0), (1, 0.333)]},
        {"move +0 +1": [(0, 0)], "move +1 +0": [(1, 0.5)]},
    ]
    first, second = attempts[0].steps[1], attempts[1].steps[2]
    assert [frames(fork) for fork in found] == [{s.observation.frames.tobytes()} for s in (first, second)]


def test_an_observation_come_back_to_is_a_fork(to_and_fro, toy_task, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", toy_task(max_episode_steps=10))
    (fork,) = forks([to_and_fro])
    assert outcomes(fork) == {"move +1 +0": [(1, 0.6)], "move +0 +1": [(1, 0.75)]}
    (pair,) = pairs([to_and_fro], TENTH, 9)
    assert (pair.chosen, pair.rejected) == ("move +0 +1", "move +1 +0")


def test_attempts_that_did_the_same_have_no_fork(episode):
    assert list(forks([episode([A, B], True), episode([A, B], True, attempt=1)])) == []
    assert list(forks([episode([A, B], True)])) == []


def test_starts_are_never_mixed(episode):
    assert list(forks([episode([A], True, seed=1), episode([B], seed=2)])) == []
    assert list(forks([episode([A], True, task="reach"), episode([B], task="push")])) == []


def test_an_attempt_that_ends_early_does_not_take_part_later(episode):
    found = list(forks([episode([A], True), episode([A, B], attempt=1), episode([A, C], True, attempt=2)]))
    assert [outcomes(fork) for fork in found] == [{"move +0 +1": [(0, 0)], "move -1 +0": [(1, 0.667)]}]


def test_broken_episodes_make_no_fork(episode):
    attempts = [episode([A, A], True), episode([B], ending="broken", attempt=1)]
    assert list(forks(attempts)) == []
    assert pairs(attempts, Margin(0, 0), 9) == []


def test_real_attempts_share_the_frame_they_part_at():
    from agent.collect.rollout import rollout
    from policies.base import Decision

    class Coin:
        """Moves right or left at random, so that attempts often begin alike."""

        def act(self, observations, rngs):
            return [
                Decision(f"{side}", np.array([side, 0], np.float32)) for side in (2 * r.integers(2) - 1 for r in rngs)
            ]

    episodes = rollout(TASKS["reach"], Coin(), [(0, attempt) for attempt in range(8)])
    found = list(forks(episodes))
    assert len(found) > 2
    for fork in found:
        ((first, _), *_), ((second, _), *_) = fork.outcomes.values()
        np.testing.assert_array_equal(first.observation.frames, second.observation.frames)
        assert first.decision.answer != second.decision.answer


# pairs -----------------------------------------------------------------------------------------------------------
def test_the_best_answer_is_preferred_by_the_measured_margin(episode):
    attempts = [episode([A, A], True)]
    attempts += [episode([B, move], move == A, attempt=1 + i) for i, move in enumerate((A, C, C))]
    attempts += [episode([C, A], attempt=9)]
    made = pairs(attempts, HALF, 99)
    assert [(p.chosen, p.rejected, *map(float, p.margin)) for p in made] == [
        ("move +1 +0", "move -1 +0", 1.0, pytest.approx(2 / 3)),  # after B
        ("move +1 +0", "move -1 +0", 1.0, pytest.approx(2 / 4)),  # at the start
    ]
    step = attempts[0].steps[0]
    assert made[1].prompt == prompt.act(step.observation)
    np.testing.assert_array_equal(made[1].frames, step.observation.frames)


def test_several_answers_are_rejected_for_the_best(episode):
    attempts = [episode([A], True), *(episode([move], attempt=i) for i, move in enumerate((B, C), start=1))]
    assert [(p.chosen, p.rejected) for p in pairs(attempts, HALF, 9, rejected=2)] == [
        ("move +1 +0", "move +0 +1"),
        ("move +1 +0", "move -1 +0"),
    ]
    assert len(pairs(attempts, HALF, 9)) == 1


def test_of_equally_bad_answers_the_usual_one_is_rejected(episode):
    attempts = [episode([move], attempt=i) for i, move in enumerate((B, C, C))] + [episode([A], True, attempt=3)]
    assert [(p.chosen, p.rejected) for p in pairs(attempts, HALF, 9)] == [("move +1 +0", "move -1 +0")]


def test_an_answer_that_does_not_follow_from_its_thought_is_not_chosen(episode, toy_task, monkeypatch):
    monkeypatch.setitem(TASKS, "toy", toy_task())
    monkeypatch.setattr("agent.organise.selection.follows", lambda task, seen, answer: answer == "move +1 +0")
    assert pairs([episode([B], True), episode([A], attempt=1)], HALF, 9) == []
    assert len(pairs([episode([A], True), episode([B], attempt=1)], HALF, 9)) == 1


def test_of_an_actions_answers_the_one_that_succeeded_soonest_is_chosen(episode):
    soon, late, never = episode([A, B], True), episode([A, C, C], True, attempt=1), episode([A, A], attempt=2)
    said = replace(soon.steps[0].decision, answer="seen; move +1 +0")
    soon = replace(soon, steps=[replace(soon.steps[0], decision=said), *soon.steps[1:]])
    made = pairs([never, soon, late, episode([B], attempt=3)], HALF, 9)
    assert ("seen; move +1 +0", "move +0 +1") in [(p.chosen, p.rejected) for p in made]


def test_soon_is_preferred_to_late(episode):
    (pair,) = pairs([episode([A], True), episode([B, B, B], True, attempt=1)], HALF, 9)
    assert (pair.chosen, pair.rejected, pair.margin) == ("move +1 +0", "move +0 +1", Outcome(0.0, 0.5))


@pytest.mark.parametrize(("success", "n"), [(0.0, 1), (0.5, 1), (0.51, 0), (1.0, 0)])
def test_small_margins_are_no_preference(episode, success, n):
    """Speed does not count where success differs."""
    attempts = [episode([A], True), episode([B], attempt=1), episode([B], True, attempt=2)]
    made = pairs(attempts, Margin(success, 0.0), 9)
    assert len(made) == n
    assert all(p.margin.success == 0.5 for p in made)


def test_answers_that_end_alike_are_no_preference(episode):
    assert pairs([episode([A]), episode([B], attempt=1)], Margin(0, 0), 9) == []
    assert pairs([episode([A], True), episode([B], True, attempt=1)], Margin(0, 0), 9) == []


def test_the_largest_margins_are_kept(episode):
    attempts = []
    for seed, wins in enumerate((1, 3, 2, 3)):  # of 3, against an answer that always fails
        attempts += [episode([A], i < wins, seed=seed, attempt=i) for i in range(3)]
        attempts += [episode([B], seed=seed, attempt=3)]
    margins = [p.margin.success for p in pairs(attempts, TENTH, 3)]
    assert margins == pytest.approx([1.0, 1.0, 2 / 3])
    assert pairs(attempts, TENTH, 0) == []


# without rewards -------------------------------------------------------------------------------------------------
def test_as_judged_success_is_the_critics_word_and_rewards_are_gone(episode):
    played = [episode([A, B], True), episode([A], False, attempt=1), episode([C], ending="broken", attempt=2)]
    played[0].conclusion, played[1].conclusion = Critique(0.4, ""), Critique(0.5, "")
    judged = as_judged(played)
    assert [(e.attempt, e.success) for e in judged] == [(0, False), (1, True)]
    assert all(step.reward == 0 for e in judged for step in e.steps)
    assert [e.success for e in played] == [True, False, False]  # what was recorded stays
