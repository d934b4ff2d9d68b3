"""Tasks that a YAML text declares."""

import pytest
import yard

HEAD = (
    f"id: {yard.__name__}:HandEyeTest/Yard-v0\n"
    "instruction: bring the ball to the right\nsuccess: {of: terminated, at_least: 1}\n"
)


@pytest.fixture
def declare(declare):
    """Writes a file and gives its path. text: what follows the head, which is that of the yard."""
    return lambda text, head=HEAD: declare(head + text)


@pytest.fixture
def reacher(declare):
    """Declares Gymnasium's Reacher, a MuJoCo environment."""

    def make(text, camera=""):
        return declare(
            f"{text}{camera}", "id: Reacher-v5\ninstruction: reach the dot\nsuccess: {of: return, at_least: -5}\n"
        )

    return make
