"""With `collect.certify: kept`, every selected episode is certified, also one that replaces a denied success."""

from types import SimpleNamespace

import pytest

from agent.collect.verify import deny
from agent.organise import selection
from agent.stages.practise import certify_kept

FAR = (1, 0)


class Certifier:
    """Denies certificates to some attempts."""

    def __init__(self, denied):
        self.denied, self.asked = denied, []

    def certify(self, episodes):
        for e in episodes:
            self.asked.append((e.seed, e.attempt))
            deny(e, "another reward" if (e.seed, e.attempt) in self.denied else "")


@pytest.mark.parametrize(
    ("denied", "asked"),
    [
        ((), [(0, 1), (1, 0)]),
        (((0, 1),), [(0, 1), (1, 0), (0, 2)]),  # the next shortest success
        (((0, 1), (0, 2), (1, 0)), [(0, 1), (1, 0), (0, 2), (1, 1)]),
    ],
)
def test_what_is_kept_is_certified(episode, denied, asked):
    attempts = [
        episode([FAR] * 3),
        episode([FAR], success=True, attempt=1),
        episode([FAR] * 2, success=True, attempt=2),
        episode([FAR], success=True, seed=1),
        episode([FAR] * 3, success=True, seed=1, attempt=1),
        episode([FAR], seed=2, ending="broken"),
    ]
    workers = Certifier(denied)
    config = SimpleNamespace(select=SimpleNamespace(per_start=1))
    certify_kept(SimpleNamespace(workers=workers, labelled=list, config=config), attempts)
    assert workers.asked == asked
    kept = {(e.seed, e.attempt) for e in selection.keep(attempts, 1)}
    assert kept == set(asked) - set(denied)
    assert {e.error for e in attempts if (e.seed, e.attempt) in denied} <= {"no certificate: another reward"}
