"""Tasks that a YAML text declares."""

import pytest
import yard

HEAD = (
    f"id: {yard.__name__}:HandEyeTest/Yard-v0\n"
    "instruction: bring the ball to the right\nsuccess: {of: terminated, at_least: 1}\n"
)


@pytest.fixture
def declare(tmp_path):
    """Writes a file and gives its path. text: what follows the head, which is that of the yard."""

    def make(text, head=HEAD):
        path = tmp_path / f"task{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(head + text)
        return str(path)

    return make


@pytest.fixture
def reacher(declare):
    """Declares Gymnasium's Reacher, a MuJoCo environment."""

    def make(text, camera=""):
        return declare(
            f"{text}{camera}", "id: Reacher-v5\ninstruction: reach the dot\nsuccess: {of: return, at_least: -5}\n"
        )

    return make
