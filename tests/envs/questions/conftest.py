"""A task of each set of shipped questions."""

import pytest
from shipped_questions import KINDS, declare


@pytest.fixture(params=KINDS)
def chosen(request, tmp_path):
    return declare(tmp_path, request.param)
