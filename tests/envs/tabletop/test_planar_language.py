"""Thoughts of reach and push: recomputed from positions, relabelled after a success; endings in words."""

import re
from dataclasses import replace

import numpy as np
import pytest

from agent.collect.rollout import rollout
from agent.organise.selection import examples, hindsight, promising
from envs.observation import Observation
from envs.registry import TASKS
from envs.suites.tabletop.language.planar import PUSH, REACH
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy


@pytest.fixture(scope="module", params=["reach", "push", "lift", "place"])
def expert_episodes(request):
    task = TASKS[request.param]
    return rollout(task, ExpertPolicy(task, codec_for(task)), [(seed, 0) for seed in range(12)])


def test_an_experts_thoughts_need_no_correction(expert_episodes):
    said = [step.decision.answer for episode in expert_episodes for step in episode.steps]
    corrected = [example.answer for example in examples(hindsight(expert_episodes))]
    assert corrected == said


def test_corrected_answers_parse_and_keep_their_action(expert_episodes):
    codec = codec_for(TASKS[expert_episodes[0].task])
    plain, corrected = examples(expert_episodes), examples(hindsight(expert_episodes))
    for before, after in zip(plain, corrected, strict=True):
        assert re.fullmatch(codec.regex, after.answer)
        assert codec.decode(after.answer)[1].tolist() == codec.decode(before.answer)[1].tolist()
        assert after.prompt == before.prompt


def test_a_reach_was_heading_where_it_ended():
    thoughts = ["red cube 3 3; over 3 3 -7 -7", "red cube 21 9; over 20 9 +6 +0"]
    corrected = REACH.relabel(thoughts, ["gripper 10 10", "gripper 14 9", "gripper 20 9"], [1.0, 2.0], [])
    # the wrong place is put right; the one that was seen closely stays
    assert corrected == ["red cube 20 9; over 20 9 +10 -1", "red cube 21 9; over 21 9 +7 +0"]


def test_a_pad_lies_where_most_steps_saw_it_and_the_headings_follow():
    gripper = ["gripper 2 2", "gripper 6 2", "gripper 10 2", "gripper 10 6", "gripper 10 10"]
    thoughts = [
        "red cube 10 7; blue pad 11 14 far; behind 9 3 +9 +9",
        "red cube 10 7; blue pad 30 2 right; behind 1 1 -1 -1; through",
        "red cube 10 7; blue pad 11 15 far; behind 10 2 +0 +0; through",
        "red cube 10 11; blue pad 11 14 far; behind 10 6 +0 +0; through",
    ]
    assert PUSH.relabel(thoughts, gripper, [0.0, 0.0, 0.5, 1.5], []) == [
        "red cube 10 7; blue pad 11 14 far; behind 10 2 +8 +0",
        "red cube 10 7; blue pad 11 14 far; behind 10 2 +4 +0; through",
        "red cube 10 7; blue pad 11 15 far; behind 10 2 +0 +0; through",
        "red cube 10 11; blue pad 11 14 far; behind 10 6 +0 +0; through",
    ]


def test_through_was_said_too_early_where_it_shoved_nothing():
    gripper = [f"gripper 10 {row}" for row in (2, 3, 4, 2, 3, 6)]
    thoughts = [f"red cube 10 7; blue pad 10 14 far; behind 10 2 +0 {2 - row:+d}" for row in (2, 3, 4, 2, 3)]
    said = [f"{thoughts[0]}; through", f"{thoughts[1]}; through", thoughts[2], *(f"{t}; through" for t in thoughts[3:])]
    assert PUSH.relabel(said, gripper, [0.0, 0.05, 0.9, 0.0, 1.9], []) == [*thoughts[:3], *said[3:]]


def test_steps_that_lost_ground_are_left_out(expert_episodes):
    episode = expert_episodes[0]
    lost = replace(episode.steps[1], reward=-0.2)
    worse = replace(episode, steps=[episode.steps[0], lost, *episode.steps[2:]])
    assert len(examples([worse])) == len(episode.steps) - 1


def test_what_the_thought_does_not_call_for_is_left_out(expert_episodes):
    """All steps of the expert are kept; none where the same thoughts are followed by no movement."""
    assert len(examples(expert_episodes)) == sum(len(episode.steps) for episode in expert_episodes)
    still = [
        replace(
            e, steps=[replace(s, decision=replace(s.decision, answer=_standing(s.decision.answer))) for s in e.steps]
        )
        for e in expert_episodes
    ]
    assert examples(still) == []


def _standing(answer):
    thought, _, action = answer.rpartition("; ")
    return f"{thought}; move{' +0' * (len(action.split()) - 1)}"


@pytest.mark.parametrize(
    ("said", "derived"),
    [
        ("red cube 3 3; over 4 3 -7 -7", "red cube 3 3; over 3 3 -7 -6"),
        (
            "red cube 10 7; blue pad 11 14 left; behind 9 3 +9 +9",
            "red cube 10 7; blue pad 11 14 far; behind 10 2 +0 -7",
        ),
        ("red cube 10 7; blue pad 11 14 far; behind 10 2 +0 -7; through",) * 2,
    ],
)
def test_a_thought_is_derived_from_the_places_it_says(said, derived):
    """Also from the gripper's position. `through` is the answer's own decision and stays."""
    language = PUSH if "pad" in said else REACH
    assert language.derive(said, "gripper 10 9") == derived


def test_an_answer_is_promising_if_it_acts_on_what_it_sees():
    """Even with a wrong offset in its thought: the offset can be recomputed, the action was taken."""
    task, seen = TASKS["reach"], Observation(np.zeros((1, 8, 8, 3), np.uint8), "reach the red cube", "gripper 10 9")
    assert promising(task, seen, "red cube 3 11; over 3 11 +2 +5; move -4 +2")
    assert not promising(task, seen, "red cube 3 11; over 3 11 +2 +5; move +2 +4")


# endings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("thought", "gripper", "success", "expected"),
    [
        ("red cube 20 9; over 20 9 +1 +2", "gripper 19 9", True, "red cube 20 9; over 20 9 +1 +0"),
        ("red cube 20 9; over 20 9 +8 +2", "gripper 16 9", False, "red cube 20 9; over 20 9 +4 +0"),
        (
            "red cube 12 9; green pad 16 9 right; behind 7 9 +0 +0; through",
            "gripper 12 9",
            True,
            "red cube 15 9; green pad 16 9 right +1 +0",
        ),
        (
            "blue cube 12 20; red pad 11 16 near; behind 12 25 +0 +0; through",
            "gripper 12 19",
            True,
            "blue cube 12 16; red pad 11 16 near -1 +0",
        ),
        (
            "red cube 12 9; green pad 16 9 right; behind 7 9 +0 +0",
            "gripper 9 9",
            True,
            "red cube 16 9; green pad 16 9 right +0 +0",
        ),
        (
            "red cube 12 9; green pad 16 8 right; behind 7 9 -2 +0",
            "gripper 9 9",
            False,
            "red cube 12 9; green pad 16 8 right +4 -1",
        ),
    ],
)
def test_an_ending_in_words(thought, gripper, success, expected):
    language = PUSH if "pad" in thought else REACH
    words = language.conclude(thought, gripper, success)
    assert words == expected
    assert language.say_ending(language.parse_ending(words)) == words


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("red cube 7 23; yellow pad 7 27 far +0 +3", "red cube 7 23; yellow pad 7 27 far +0 +4"),
        ("red cube 3 7; blue pad 7 4 near +2 -2", "red cube 3 7; blue pad 7 4 right +4 -3"),
        ("red cube 3 7; over 4 7 +0 +1", "red cube 3 7; over 3 7 -6 -2"),  # the gripper is at 9 9
    ],
)
def test_the_words_for_an_ending_are_derived_anew(said, expected):
    language = PUSH if "pad" in said else REACH
    words = language.derive_ending(said, "gripper 9 9")
    assert words == expected
    assert language.derive_ending(words, "gripper 9 9") == words
