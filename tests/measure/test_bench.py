"""Each row of the benchmark measures both sides and describes the comparison."""

import pytest

from agent.measure.bench import branching, criticising, rendering, restoring, saving, stepping


@pytest.mark.parametrize(
    "measure",
    [
        lambda checkpoint: saving("reach"),
        lambda checkpoint: rendering("hopper", 2)[0],
        lambda checkpoint: rendering("hopper", 2)[1],
        lambda checkpoint: stepping("hopper", 2),
        lambda checkpoint: restoring("CartPole-v1", 2),
        pytest.param(lambda checkpoint: branching("reach", checkpoint, n=2, n_envs=2), marks=pytest.mark.slow),
        pytest.param(
            lambda checkpoint: criticising("reach", checkpoint, n=2, n_envs=2, proposals=2), marks=pytest.mark.slow
        ),
    ],
)
def test_a_row_has_both_sides(measure, nano_checkpoint):
    row = measure(nano_checkpoint)
    assert set(row) == {"name", "unit", "ours", "reference", "ratio", "what"}
    assert row["ours"] > 0
    assert row["ratio"] == row["ours"] / row["reference"]
