"""Declared tasks of odd environments."""

import odd_line
import pytest

from envs.language import FixedInstruction
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule

WON = SuccessRule("success", at_least=1)


@pytest.fixture
def odd():
    """Makes a declared task of `OddLine`, or of a kin of it, whose parts are odd and whose reset is as it is."""

    def make(kind="OddLine", success=WON, **kwargs):
        spec = EnvSpec(f"{odd_line.__name__}:HandEyeTest/{kind}-v0", kwargs, success)
        return Task("odd", "declared", "practice", spec, language=FixedInstruction("move the dot right"))

    return make
