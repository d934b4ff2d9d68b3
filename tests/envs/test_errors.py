"""A mistake of a user names the value and the valid ones."""

from envs.errors import unknown


def test_a_near_miss_is_suggested():
    assert str(unknown("task", "raech", ["push", "reach"])) == (
        "unknown task 'raech' (did you mean 'reach'?); valid: push, reach"
    )


def test_nothing_near_is_not_guessed():
    assert str(unknown("task", "xyz", ["b", "a"])) == "unknown task 'xyz'; valid: a, b"
