"""Declared tasks of unclean environments."""

import pytest
import unclean_line

from envs.declared import declared

FILE = """id: unclean_line:HandEyeTest/Unclean{}-v0
instruction: move the dot
success: {{of: success, at_least: 1}}
"""


@pytest.fixture
def unclean(tmp_path):
    """Writes the file of a kind of environment, with more keys, and returns its task; its name is the file's path."""

    def make(kind, **more):
        path = tmp_path / f"{kind.lower()}_{'_'.join(map(str, more.values()))}.yaml"
        path.write_text(FILE.format(kind) + "".join(f"{key}: {value}\n" for key, value in more.items()))
        for each in unclean_line.KINDS:
            each.made = each.closed = 0
        return declared(str(path))

    return make
