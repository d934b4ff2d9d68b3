"""Which small models are trained for these tests, and the starts that they play."""

from agent.config import Baseline
from envs.registry import TASKS

TRAINED = {
    "ppo": Baseline("cartpole", "ppo", steps=300, n_envs=2),
    "dqn": Baseline("cartpole", "dqn", steps=300, n_envs=2),
    "trpo": Baseline("hopper", "trpo", steps=400, n_envs=2, normalize=True, params={"gamma": 0.995}),
    "sac": Baseline("reach", "sac", steps=120, n_envs=1),
    "sac-pixels": Baseline("reach", "sac", "pixels", steps=104, n_envs=1),
    "ppo-pixels": Baseline("reach", "ppo", "pixels", steps=64, n_envs=4),
}
STARTS = [(seed, 0) for seed in (2_000_000, 2_000_001, 2_000_002)]


def short(name, steps=12):
    task = TASKS[name]
    return task.with_env(kwargs={**task.env.kwargs, "max_episode_steps": steps})
