"""Seed ranges: splits do not overlap, and seeds outside a split are refused."""

import itertools

import pytest

from envs.errors import UserError
from envs.splits import SPLITS, seeds


def test_seed_ranges_never_meet():
    ranges = sorted(SPLITS.values(), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))
    assert list(seeds("gate", 2, 3)) == [1_000_003, 1_000_004]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("test", 1), "unknown split 'test'.*gate, heldout, practice"),
        (("gate", 2, 999_999), "'gate' has 1000000 seeds"),
        (("gate", -1), "asked for -1"),
    ],
)
def test_seeds_outside_a_split_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        seeds(*arguments)
