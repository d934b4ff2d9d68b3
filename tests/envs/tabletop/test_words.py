"""Places on the table as words: bins, and how far a bin may be off."""

import numpy as np

from envs.suites.tabletop import words


def test_bins_round_trip():
    for column in range(words.BINS):
        for row in range(words.BINS):
            assert words.to_bins(words.from_bins(column, row)) == (column, row)


def test_a_bin_is_never_farther_than_half_its_width():
    for place in np.random.default_rng(0).uniform(-words.HALF_EXTENT, words.HALF_EXTENT, (500, 2)):
        assert np.abs(words.from_bins(*words.to_bins(place)) - place).max() <= words.BIN_WIDTH / 2 + 1e-12


def test_places_beyond_the_table_take_the_border_bins():
    assert words.to_bins(np.array([-9.0, 9.0])) == (0, words.BINS - 1)
    assert words.say("red cube", np.array([0.239, -0.239])) == f"red cube {words.BINS - 1} 0"
