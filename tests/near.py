"""A tiny run on a task that random moves solve every other time."""

from dataclasses import replace

import gymnasium as gym

from envs.registry import TASKS
from envs.suites.tabletop.reach import Reach


class Near(Reach):
    """Reach with a goal so wide that random moves find it about every other time."""

    def success(self):
        return self.distance() < 0.14


gym.register("HandEyeTest/Near-v0", entry_point=Near, max_episode_steps=6)


def near_task(any_action):
    """The task `near`, whose thoughts call for no action: random thoughts and actions seldom agree."""
    return replace(any_action(TASKS["reach"]), name="near").with_env(id="HandEyeTest/Near-v0")


def near_run(policy, out):
    """The keys of a tiny run's config."""
    trainer = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1}
    return {
        "policy": policy,
        "tasks": ["near"],
        "out": str(out),
        "rounds": 1,
        "n_envs": 16,
        "threads": 1,
        "collect": {"starts": 4, "attempts": 4},
        "select": {"critiques": 20, "min_margin": {"success": 0.1, "saved": 0.1}},
        "gate": {"episodes": 4, "p_value": 1.0},
        "evaluation": {"tasks": ["near"], "episodes": 2, "videos": 1},
        "tracking": {"mode": "disabled"},
        "sft": trainer,
        "dpo": trainer,
    }
