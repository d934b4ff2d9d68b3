"""A candidate passes only if it is better on the same episodes."""

import pytest

from agent.measure.gate import decide


@pytest.fixture
def played(episode):
    """Makes episodes of tasks, one a letter: + success, - failure, x broken."""

    def make(**tasks):
        return [
            episode([(1, 0)], letter == "+", seed=i, task=task, ending="broken" if letter == "x" else None)
            for task, letters in tasks.items()
            for i, letter in enumerate(letters)
        ]

    return make


@pytest.mark.parametrize(
    ("before", "after", "max_p", "accepted"),
    [
        ("-----", "+++++", 0.1, True),  # p = 1/16
        ("-----", "+++++", 0.05, False),
        ("+++++", "-----", 1.0, False),  # worse, however sure
        ("+-+-+", "+-+-+", 1.0, False),  # the same
        ("+----", "-+---", 1.0, False),  # as many, but others
        ("+----", "-++--", 1.0, True),
        ("+----", "-++--", 0.5, False),  # p = 1
    ],
)
def test_better_and_sure_enough(played, before, after, max_p, accepted):
    assert decide(played(reach=before), played(reach=after), max_p).accepted is accepted


def test_the_verdict_holds_its_measurement(played):
    verdict = decide(played(reach="+---", push="----"), played(reach="++--", push="++--"), 0.5)
    assert verdict.accepted
    assert verdict.p_value == pytest.approx(0.25)
    assert (verdict.before["k"], verdict.after["k"]) == (1, 4)
    assert verdict.before["n"] == verdict.after["n"] == 8


def test_a_loss_in_one_task_can_outweigh_a_gain_in_another(played):
    assert not decide(played(reach="----", push="++++"), played(reach="++--", push="----"), 1.0).accepted


def test_a_crash_is_no_failure(played):
    verdict = decide(played(reach="++++"), played(reach="xxx+"), 1.0)
    assert (verdict.before["k"], verdict.before["n"]) == (1, 1)
    assert not verdict.accepted


def test_other_episodes_are_no_comparison(played):
    with pytest.raises(ValueError, match="different starts"):
        decide(played(reach="+-"), played(reach="+-+"), 1.0)
