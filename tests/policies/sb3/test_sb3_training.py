"""Training by Stable-Baselines3: practice seeds alone, reproducible, its parameters checked before it starts."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from trained_models import TRAINED

import agent.measure.baseline
from agent.config import Baseline
from agent.measure.baseline import baseline, train
from envs.errors import UserError
from envs.registry import TASKS
from envs.splits import SPLITS
from policies.sb3 import Practice


def test_only_practice_seeds_are_trained_on(toy_task):
    env, seeds = toy_task().make(), set()
    practice = Practice(env, (0, 0))
    for seed in (None, 1_000_000, 2_000_000, None) * 50:
        practice.reset(seed=seed)
        seeds.add(env.unwrapped.seed)
    assert len(seeds) > 190
    assert seeds <= set(SPLITS["practice"])
    assert max(seeds) > 500_000 > min(seeds)


def test_training_resets_to_practice_seeds_alone(monkeypatch):
    """Seen at the simulator's own reset, below all wrappers."""
    met = []
    reset = CartPoleEnv.reset

    def noted(self, *, seed=None, options=None):
        met.append(seed)
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(CartPoleEnv, "reset", noted)
    train(TASKS["cartpole"], TRAINED["ppo"])
    assert len(set(met)) == len(met) > 5
    assert set(met) <= set(SPLITS["practice"])


def test_training_is_reproducible():
    seen = np.array([0.1, -0.2, 0.03, 0.4], np.float32)
    values = []
    for seed in (0, 0, 1):
        model = train(TASKS["cartpole"], replace(TRAINED["ppo"], seed=seed))
        values.append(float(model.policy.predict_values(model.policy.obs_to_tensor(seen)[0])))
    assert values[0] == values[1] != values[2]


def test_a_normalised_policy_plays_as_it_was_trained(monkeypatch):
    """States are normalised in training alone: the normalisation is folded into the policy's weights."""
    seen = {}

    def noted(normalised, model):
        rms = normalised.obs_rms
        assert rms.var.max() > 2 * rms.var.min()
        seen["states"] = rms.mean + np.sqrt(rms.var) * np.random.default_rng(0).normal(size=(9, 11))
        seen["actions"] = model.predict(normalised.normalize_obs(seen["states"]), deterministic=True)[0]
        fold(normalised, model)

    fold = agent.measure.baseline._fold
    monkeypatch.setattr(agent.measure.baseline, "_fold", noted)
    model = train(TASKS["hopper"], TRAINED["trpo"])
    folded = model.predict(seen["states"].astype(np.float32), deterministic=True)[0]
    np.testing.assert_allclose(folded, seen["actions"], atol=1e-4)
    assert np.abs(folded).max() > 1e-2


def test_parameters_are_the_algorithms_own():
    model = train(TASKS["cartpole"], replace(TRAINED["ppo"], params={"gamma": 0.5, "n_steps": 32, "batch_size": 64}))
    assert (model.gamma, model.n_steps, model.batch_size) == (0.5, 32, 64)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gama": 0.9}, r"unknown parameter of ppo 'gama' \(did you mean 'gamma'\?\); valid: gamma, .* in all"),
        ({"seed": 3}, "unknown parameter of ppo 'seed'"),
        ({"n_epochs": 1.5}, "parameter 'n_epochs' of ppo is 1.5; valid: a whole number"),
        ({"batch_size": 1}, "parameters {'batch_size': 1} of ppo cannot be used: "),
    ],
    ids=str,
)
def test_parameters_that_do_not_fit(params, message, tmp_path):
    with pytest.raises(UserError, match=message):
        baseline(replace(TRAINED["ppo"], params=params), tmp_path / "made")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (Baseline("cartpole", "ppo", "pixels", normalize=True), "ppo on pixels of task 'cartpole'"),
        (Baseline("frozen-lake", "trpo", normalize=True), "trpo on state of task 'frozen-lake'"),
        (Baseline("hopper", "sac", normalize=True), "sac on state of task 'hopper'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_normalised(settings, what, tmp_path):
    with pytest.raises(UserError, match=f"normalize with {what}; valid: ppo, trpo on a state that is a vector"):
        baseline(settings, tmp_path / "made")
