"""The context of a round's stages."""

from agent.config import Config
from agent.stages import round as module
from agent.stages.round import Round
from policies.base import find_policy
from policies.dialect import TERSE


def test_the_seed_policy_is_looked_up_once_for_all_rows(monkeypatch):
    """Its name may be a hub's, which is asked over the network."""
    asked = []
    monkeypatch.setattr(module, "find_policy", lambda name: asked.append(name) or find_policy(name))
    r = Round(1, Config(policy="seed", tasks=("reach",)), None, None, None, {})
    assert [r.dialect("reach") for _ in range(3)] == [TERSE] * 3
    assert asked == ["seed"]
