"""What the critic learns from: measured alternatives at one observation, and how episodes ended."""

from collections import Counter

import numpy as np
import pytest

from agent.critiques import concluded, criticised, critiques
from envs.observation import Observation
from envs.registry import TASKS
from policies.action_codec import codec_for

A, B, C = (1, 0), (0, 1), (-1, 0)
CODEC = codec_for(TASKS["reach"])
SEEN = Observation(np.zeros((1, 8, 8, 3), np.uint8), "reach the red cube", "gripper 1 1")


def rng():
    return np.random.default_rng(0)


def text(example):
    return example.prompt[0]["content"][-1]["text"]


@pytest.fixture
def practised(episode):
    """From each of four starts A, which succeeds, and B, which fails."""
    return [e for seed in range(4) for e in (episode([A], True, seed=seed), episode([B], seed=seed, attempt=1))]


def test_the_same_frame_has_a_yes_and_a_no():
    tried = [("move +1 +0", 0.9), ("move -1 +0", 0.8), ("move +0 +1", 0.0)]
    tried = [(f"red cube 2 9; over {answer[-2:]} 1; {answer}", outcome) for answer, outcome in tried]
    yes, no, again = criticised(CODEC, SEEN, "red cube 4 1; over 4 1 +3 +0", tried, 0.5, rng())
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
        [("move +1 +0", 0.0), ("move -1 +0", 0.0)],  # nothing succeeded
        [("move +1 +0", 0.9), ("move -1 +0", 0.9)],  # nothing did worse
        [("move +1 +0", 0.9), ("move -1 +0", 0.5)],  # by less than the margin
        [("move +1 +0", 0.9)],
    ],
)
def test_nothing_is_said_where_nothing_was_told_apart(tried):
    assert criticised(CODEC, SEEN, "", tried, 0.5, rng()) == []


def test_half_is_about_answers_and_half_about_endings(practised):
    made = critiques([], practised, practised, 16, 0.5, rng())
    endings = [e for e in made if text(e).endswith("done?")]
    assert Counter(e.answer for e in endings) == {"yes": 4, "no": 4}
    assert {text(e) for e in endings} == {"reach the red cube. done?", "reach the red cube. gripper 0 0. done?"}
    assert len(made) - len(endings) == 9  # three of one observation are not taken apart
    for example in made:
        if text(example).endswith("good?"):
            assert ("move +1 +0" in text(example)) == example.answer.endswith("yes")


def test_each_task_has_its_share(practised, episode, toy_task, monkeypatch):
    monkeypatch.setitem(TASKS, "easy", toy_task())
    easy = [episode([C], i < 1, seed=i, task="easy") for i in range(7)]
    made = [e for e in critiques([], practised + easy, practised + easy, 16, 0.5, rng()) if text(e).endswith("done?")]
    assert Counter(e.answer for e in made) == {"yes": 3, "no": 3}  # two of each, and of easy only one succeeded


def test_a_success_was_not_done_a_step_before(episode):
    sole = episode([A, B], True)
    made = critiques([], [], [sole], 8, 0.5, rng())
    assert {e.answer: (e.frames.tobytes(), text(e)) for e in made} == {
        "yes": (sole.end.frames.tobytes(), "reach the red cube. done?"),
        "no": (sole.steps[-1].observation.frames.tobytes(), "reach the red cube. gripper 1 1. done?"),
    }


def test_practice_adds_only_what_branches_lack(practised, episode):
    branched = [episode([A], True, seed=9), episode([C], seed=9, attempt=1)]
    asked = critiques(branched, practised, [episode([B])], 2, 0.5, rng())
    assert {e.frames[0, 0, 0, 0] for e in asked} == {9}
    assert len(critiques(branched, practised, [episode([B])], 99, 0.5, rng())) == 15


def test_a_frame_is_shown_with_its_own_outcome(practised):
    ends = [(e.end, "", e.success) for e in practised]
    shown = {e.final_frame.tobytes(): "yes" if e.success else "no" for e in practised}
    made = concluded(ends, 99, rng())
    assert len(made) == 8
    assert all(shown[e.frames[0].tobytes()] == e.answer for e in made)


def test_there_are_no_more_than_asked_for_or_than_there_are(practised, episode):
    assert critiques([], [], [], 9, 0.5, rng()) == []
    assert critiques([], practised, practised, 0, 0.5, rng()) == []
    assert critiques([], practised[1::2], practised[1::2], 9, 0.5, rng()) == []  # nothing succeeded
    broken = [episode([C] * 9, ending="broken")]
    assert critiques([], broken, broken, 9, 0.5, rng()) == []
