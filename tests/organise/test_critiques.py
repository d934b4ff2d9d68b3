"""The critic's training examples: measured alternatives at one observation, and endings of episodes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from agent.config import Margin, Tie
from agent.organise.critiques import answer_critiques, contrasts, criticised, end_critiques, endings, measured
from agent.organise.outcome import FAILURE, Outcome
from envs.observation import Observation
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.critic import Critique

A, B, C = (1, 0), (0, 1), (-1, 0)
TIE, HALF = Tie(), Margin(0.5, 0.5)
SOON, LATER, LATE = (Outcome(1.0, saved) for saved in (0.9, 0.8, 0.5))
CODEC = codec_for(TASKS["reach"])
SEEN = Observation(np.zeros((1, 8, 8, 3), np.uint8), "reach the red cube", "gripper 1 1")


def rng():
    return np.random.default_rng(0)


def text(example):
    return example.prompt[0]["content"][-1]["text"]


@pytest.fixture
def practised(episode):
    """Two episodes from each of four starts: A succeeds, B fails."""
    return [e for seed in range(4) for e in (episode([A], True, seed=seed), episode([B], seed=seed, attempt=1))]


def test_the_same_frame_has_a_yes_and_a_no():
    tried = [("move +1 +0", SOON), ("move -1 +0", LATER), ("move +0 +1", FAILURE)]
    tried = [(f"red cube 2 9; over {answer[-2:]} 1; {answer}", outcome) for answer, outcome in tried]
    yes, no, again = criticised(CODEC, SEEN, "red cube 4 1; over 4 1 +3 +0", tried, TIE, HALF, rng())
    assert yes.answer == "move +1 +0 +0 +0; yes"
    sight = "reach the red cube. gripper 1 1. red cube 4 1; over 4 1 +3 +0"
    assert text(yes) == f"{sight}; move +1 +0. good?"
    assert no.answer == "move +1 +0 +1 -1; no"
    assert text(no) == f"{sight}; move +0 +1. good?"
    assert text(again) == f"reach the red cube. gripper 1 1. {tried[2][0]}. move +1 +0 +1 -1; no"
    assert again.answer == tried[0][0]


@pytest.mark.parametrize(
    "tried",
    [
        [("move +1 +0", FAILURE), ("move -1 +0", FAILURE)],  # nothing succeeded
        [("move +1 +0", SOON), ("move -1 +0", SOON)],  # nothing did worse
        [("move +1 +0", SOON), ("move -1 +0", LATE)],  # by less than the margin
        [("move +1 +0", SOON)],
    ],
)
def test_nothing_is_said_where_nothing_was_told_apart(tried):
    assert criticised(CODEC, SEEN, "", tried, TIE, HALF, rng()) == []


def test_alternatives_are_questions(practised):
    made = answer_critiques(practised, 99, TIE, HALF, rng())
    assert Counter(text(e).split()[-1] for e in made) == {
        "good?": 8,
        "no": 4,
    }  # and 4 to answer again
    for example in made:
        if text(example).endswith("good?"):
            assert ("move +1 +0" in text(example)) == example.answer.endswith("yes")
    assert len(answer_critiques(practised, 8, TIE, HALF, rng())) == 9  # three of one observation are not taken apart


def test_what_was_seen_first_is_what_the_critic_sees(episode):
    """All answers at one observation are criticised under the thought of the first, greedy one."""
    episodes = [episode([B]), episode([A], True, attempt=1)]
    for e, thought in zip(episodes, ("red cube 1 2", "red cube 9 9"), strict=True):
        decision = e.steps[0].decision
        e.steps[0] = replace(e.steps[0], decision=replace(decision, answer=f"{thought}; {decision.answer}"))
    questions = [text(e) for e in answer_critiques(episodes, 9, TIE, HALF, rng()) if text(e).endswith("good?")]
    assert len(questions) == 2
    assert all("gripper 0 0. red cube 1 2; move" in question for question in questions)


@pytest.mark.parametrize(("margin", "told"), [(None, True), (HALF, False)])
def test_a_step_lost_is_told_where_any_loss_counts(episode, margin, told):
    episodes = [episode([A], True), episode([B, B], True, attempt=1)]
    assert bool(answer_critiques(episodes, 9, TIE, margin, rng())) == told


def test_where_all_did_equally_well_one_is_good(episode):
    """Its label is yes, after the preferred action, which was done first, and the answer's offset from it."""
    episodes = [episode([A], True), episode([B], True, attempt=1)]
    made = [answer_critiques(episodes, 9, TIE, None, np.random.default_rng(seed)) for seed in range(20)]
    assert {len(some) for some in made} == {1}
    assert {(text(e), e.answer) for (e,) in made} == {
        ("reach the red cube. gripper 0 0. move +1 +0. good?", "move +1 +0 +0 +0; yes"),
        ("reach the red cube. gripper 0 0. move +0 +1. good?", "move +1 +0 +1 -1; yes"),
    }


def test_what_was_done_is_compared_with_what_nobody_measured(episode):
    """One contrast an observation that SFT imitates; it holds no label."""
    kept = [episode([A], True), episode([B, C], True, seed=9)]
    made = contrasts(kept, 99, rng())
    done = {step.observation.frames.tobytes(): step.decision.answer for e in kept for step in e.own}
    assert {e.frames.tobytes(): " ".join(e.answer.split()[:3]) for e in made} == done
    for example in made:
        other = text(example).removesuffix(". good?").rpartition(". ")[2]
        assert example.answer == CODEC.instead(other, done[example.frames.tobytes()])
    drawn = rng()
    assert len({text(e).partition("move")[2] for _ in range(9) for e in contrasts(kept, 99, drawn)}) > 1
    assert len(contrasts(kept, 2, rng())) == 2
    assert contrasts([], 9, rng()) == []


def test_where_nothing_did_well_nothing_is_asked(episode):
    assert answer_critiques([episode([A]), episode([B], attempt=1)], 9, TIE, None, rng()) == []


def test_what_was_measured_and_whether_it_did_as_well_as_any(practised, episode):
    lost = [episode([A, C], seed=9), episode([B], seed=9, attempt=1)]
    (of_toy,) = measured(practised + lost, TIE).values()
    assert [(moment.answers, moment.good) for moment in of_toy] == [(["move +1 +0", "move +0 +1"], [True, False])] * 4


def test_endings_are_half_yes_and_half_no(practised):
    made = end_critiques(endings(practised), 8, rng())
    assert Counter(e.answer for e in made) == {"yes": 4, "no": 4}
    assert {text(e) for e in made} == {"reach the red cube. done?"}


def test_each_task_has_its_share(practised, episode, toy_task, monkeypatch):
    monkeypatch.setitem(TASKS, "easy", toy_task())
    easy = [episode([C], i < 1, seed=i, task="easy") for i in range(7)]
    made = end_critiques(endings(practised + easy), 8, rng())
    assert Counter(e.answer for e in made) == {"yes": 3, "no": 3}  # two of each, and of easy only one succeeded


def test_a_frame_is_shown_with_its_own_outcome(practised):
    shown = {e.final_frame.tobytes(): "yes" if e.success else "no" for e in practised}
    made = end_critiques(endings(practised), 99, rng())
    assert len(made) == 8
    assert all(shown[e.frames[-1].tobytes()] == e.answer for e in made)
    begun = {e.final_frame.tobytes(): e.steps[0].observation.frames[-1].tobytes() for e in practised}
    assert all(e.frames[0].tobytes() == begun[e.frames[-1].tobytes()] for e in made)


@pytest.mark.parametrize(
    ("verdict", "said"), [(0.9, "red cube 4 2; over 4 2 +0 +0"), (0.1, "red cube 9 9; over 9 9 +0 +0")]
)
def test_an_ending_is_told_in_the_words_of_a_right_conclusion_else_of_the_last_step(verdict, said, episode):
    done = episode([A], True, task="reach")
    done.final_proprioception = "gripper 9 9"
    decision = done.steps[0].decision
    thought = "red cube 9 9; over 9 9 +1 +0"
    done.steps[0] = replace(done.steps[0], decision=replace(decision, answer=f"{thought}; {decision.answer}"))
    done.conclusion = Critique(verdict, "red cube 4 2; over 4 2 +0 +0")
    (end,) = endings([done])
    assert (end.words, end.success) == (said, True)


def test_there_are_no_more_than_asked_for_or_than_there_are(practised, episode):
    broken = [episode([C] * 9, ending="broken")]
    for some in ([], practised[1::2], broken):  # the second: nothing succeeded
        assert answer_critiques(some, 9, TIE, HALF, rng()) == end_critiques(endings(some), 9, rng()) == []
    assert answer_critiques(practised, 0, TIE, HALF, rng()) == end_critiques(endings(practised), 0, rng()) == []
