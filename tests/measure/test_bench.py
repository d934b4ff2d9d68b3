"""Each row of the benchmark measures both sides and describes the comparison."""

import pytest

from agent.measure.bench import branching, criticising, rendering, restoring, saving, stepping
from agent.measure.benches.deciding import deciding
from agent.measure.benches.practising import practising
from agent.measure.benches.training import training
from agent.optimise.dpo import train_dpo
from agent.optimise.sft import train_sft

TRAININGS = {"sft": train_sft, "dpo": train_dpo}


@pytest.mark.parametrize(
    "measure",
    [
        lambda checkpoint: saving("reach"),
        lambda checkpoint: rendering("hopper", 2)[0],
        lambda checkpoint: rendering("hopper", 2)[1],
        lambda checkpoint: stepping("hopper", 2),
        lambda checkpoint: restoring("CartPole-v1", 2),
        pytest.param(lambda checkpoint: practising("reach", checkpoint, 2, 2, 1)[1], marks=pytest.mark.slow),
        pytest.param(lambda checkpoint: deciding("reach", checkpoint, [2], 1)[1], marks=pytest.mark.slow),
        pytest.param(lambda checkpoint: training(checkpoint, TRAININGS, 16, 1)[2], marks=pytest.mark.slow),
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
