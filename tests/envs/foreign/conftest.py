"""Tasks from files."""

import pytest


@pytest.fixture
def declare(tmp_path):
    """Writes a task's file, and gives its path."""

    def make(text):
        path = tmp_path / f"task{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(text)
        return str(path)

    return make
