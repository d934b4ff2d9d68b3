"""Small models of Stable-Baselines3, each trained once."""

from pathlib import Path

import pytest
from trained_models import TRAINED

from agent.measure.baseline import train
from envs.registry import TASKS
from policies.experts import trust


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Maps a name of TRAINED to the model's .zip. Each is trained once, at its first use."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def of(name) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.zip"
            train(TASKS[TRAINED[name].task], TRAINED[name]).save(made[name])
            trust.vouch(made[name])
        return made[name]

    return of
