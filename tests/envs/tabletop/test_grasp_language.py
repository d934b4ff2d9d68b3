"""Thoughts of lift and place: recomputed from positions, relabelled after a success; endings in words."""

import numpy as np
import pytest

from agent.collect.relabel import relabelled
from agent.collect.rollout import rollout
from agent.organise.selection import examples, hindsight
from envs.registry import TASKS
from envs.suites.tabletop.language.grasping import LIFT, PLACE
from policies.action_codec import codec_for
from policies.base import Decision
from policies.baselines import ExpertPolicy

HANDS = [f"gripper {words}" for words in ("16 9 high open", "20 9 high open", "20 9 low open", "20 9 low holding")]
CARRIED = ["gripper 20 9 high holding", "gripper 20 13 high holding", "gripper 20 13 low holding"]


@pytest.mark.parametrize(
    ("thought", "action"),
    [
        ("red cube 20 9; over 20 9 +8 -2", (1, -0.5, 0, 0)),
        ("red cube 20 9; over 20 9 +0 +0; down", (0, 0, -1, 0)),
        ("red cube 20 9; over 20 9 +1 -1; down", (0.25, -0.25, -1, 0)),
        ("red cube 20 9; over 20 9 +1 +0; up", (0, 0, 1, 0)),
        ("red cube 20 9; green pad 5 9; over 20 9 +0 +0; close", (0, 0, 0, -1)),
        ("red cube 20 9; green pad 5 9; over 5 9 -15 +0", (-1, 0, 0, 0)),
        ("red cube 20 9; green pad 5 9; over 5 9 +0 +0; open", (0, 0, 0, 1)),
    ],
)
def test_a_thought_calls_for_an_action(thought, action):
    called_for = (PLACE if "pad" in thought else LIFT).called_for(thought, HANDS[0])
    np.testing.assert_array_equal(called_for, np.array(action, np.float32))


def test_a_lifted_object_lay_where_the_fingers_closed():
    thoughts = [
        "red cube 3 3; over 3 3 -13 -6",
        "red cube 21 9; over 21 9 +1 +0",  # seen closely: what was seen stays
        "red cube 20 9; over 20 9 +0 +0; close",
        "red cube 2 2; over 2 2 -18 -7; open",
    ]
    assert LIFT.relabel(thoughts, [*HANDS, CARRIED[0]], [0.0] * 3 + [1.8], []) == [
        "red cube 20 9; over 20 9 +4 +0",
        "red cube 21 9; over 21 9 +1 +0; down",
        "red cube 20 9; over 20 9 +0 +0; close",
        "red cube 20 9; over 20 9 +0 +0; up",
    ]


def test_a_placed_object_went_with_the_fingers_to_a_pad_that_lies_where_most_steps_saw_it():
    places = ["20 9; blue pad 20 13", "20 9; blue pad 3 3", "20 9; blue pad 20 14", "5 5; blue pad 20 13"]
    places += ["20 9; blue pad 20 13", "20 13; blue pad 20 13", "9 9; blue pad 20 13"]
    thoughts = [f"red cube {words}; over 0 0 +1 +1" for words in places]
    assert PLACE.relabel(thoughts, [*HANDS, *CARRIED, "gripper 20 13 low open"], [0.0] * 6 + [1.0], []) == [
        "red cube 20 9; blue pad 20 13; over 20 9 +4 +0",
        "red cube 20 9; blue pad 20 13; over 20 9 +0 +0; down",
        "red cube 20 9; blue pad 20 14; over 20 9 +0 +0; close",
        "red cube 20 9; blue pad 20 13; over 20 13 +0 +4; up",
        "red cube 20 9; blue pad 20 13; over 20 13 +0 +4",
        "red cube 20 13; blue pad 20 13; over 20 13 +0 +0; down",
        "red cube 20 13; blue pad 20 13; over 20 13 +0 +0; open",
    ]


def test_an_object_that_was_never_held_proves_nothing():
    thoughts = ["red cube 3 3; blue pad 4 9; over 3 3 -1 -1"]
    assert PLACE.relabel(thoughts, HANDS[:2], [1.0], []) == thoughts


@pytest.mark.parametrize(
    ("said", "hand", "derived"),
    [
        ("red cube 3 3; over 4 3 -7 -7; down", "10 9 high open", "red cube 3 3; over 3 3 -7 -6"),
        ("red cube 3 3; over 4 3 -7 -7", "10 9 low closed", "red cube 3 3; over 3 3 -7 -6; open"),
        ("red cube 3 3; over 4 3 -7 -7", "10 9 mid open", "red cube 3 3; over 3 3 -7 -6; up"),
        ("red cube 10 7; over 10 9 +0 +0", "10 9 low holding", "red cube 10 7; over 10 7 +0 -2; up"),
        ("red cube 10 5; over 10 9 +0 +0", "10 9 low holding", "red cube 10 5; over 10 5 +0 -4; open"),
        (
            "red cube 10 9; blue pad 11 14; over 9 3 +9 +9",
            "10 9 high holding",
            "red cube 10 9; blue pad 11 14; over 11 14 +1 +5",
        ),
        (
            "red cube 11 14; blue pad 11 14; over 9 3 +9 +9",
            "11 14 low open",
            "red cube 11 14; blue pad 11 14; over 11 14 +0 +0; up",
        ),
    ],
)
def test_a_thought_is_derived_from_the_places_it_says_and_the_hand(said, hand, derived):
    assert (PLACE if "pad" in said else LIFT).derive(said, f"gripper {hand}") == derived


@pytest.mark.parametrize(
    ("thought", "hand", "success", "expected"),
    [
        ("red cube 20 9; over 20 9 +0 +0; up", "20 9 high holding", True, "red cube 20 9; over 20 9 +0 +0"),
        ("red cube 2 9; over 2 9 -18 +0", "20 9 high holding", True, "red cube 20 9; over 20 9 +0 +0"),
        ("red cube 2 9; over 2 9 -18 +0", "20 9 high closed", False, "red cube 2 9; over 2 9 -18 +0"),
        (
            "red cube 5 5; green pad 16 9; over 16 9 +0 +0; open",
            "16 9 low open",
            True,
            "red cube 16 9; green pad 16 9 +0 +0",
        ),
        (
            "red cube 5 5; green pad 16 9; over 5 5 -1 +0",
            "6 5 high open",
            False,
            "red cube 5 5; green pad 16 9 +11 +4",
        ),
    ],
)
def test_an_ending_in_words(thought, hand, success, expected):
    language, gripper = PLACE if "pad" in thought else LIFT, f"gripper {hand}"
    words = language.conclude(thought, gripper, success)
    assert words == expected
    assert language.say_ending(language.parse_ending(words)) == words
    assert language.derive_ending(f"{words.rsplit(' ', 2)[0]} +9 +9", gripper) == words


class Greedy(ExpertPolicy):
    """Lifts another object and names it in its thought."""

    def act_on(self, envs):
        decisions = []
        for env in envs:
            inner = env.unwrapped
            goal, inner.goal = inner.goal, next(n for n in inner.scene.objects if n != inner.goal)
            thought, action = self.task.teacher.expert(env)
            answer = self.codec.encode(thought.replace(inner.goal, goal), action)
            inner.goal = goal
            decisions.append(Decision(answer, self.codec.decode(answer)[1]))
        return decisions


def test_another_object_that_was_lifted_is_a_success_of_that_goal():
    task = TASKS["lift"]
    codec = codec_for(task)
    episodes = rollout(task, Greedy(task, codec), [(seed, 0) for seed in range(12)])
    assert not any(e.success for e in episodes)
    found, _ = relabelled(episodes)
    assert len(found) > 3  # those whose other object may be a goal
    for example in examples(hindsight(found)):
        thought, action = codec.decode(example.answer)
        np.testing.assert_allclose(LIFT.called_for(thought, HANDS[0]), action, atol=1e-6)
