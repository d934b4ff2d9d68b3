"""A task whose state holds a text and a small picture is trained on it or on pixels, with several discrete actions."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.spaces import Box, Dict, MultiDiscrete, Text

from agent.collect.rollout import rollout
from agent.config import Baseline
from agent.measure.baseline import train
from envs.declared.instructions import EnvInstruction
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule
from policies.experts import trust
from policies.sb3 import PixelPolicy, StatePolicy, load, plain, watched

CELLS = Box(0, 255, (3, 3, 3), np.uint8)


class Mission(gym.Wrapper):
    """CartPole with a mission and cells beside its numbers, pushed by the first of two choices."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, render_mode=None):
        super().__init__(CartPoleEnv(render_mode=render_mode))
        self.observation_space = Dict({"numbers": self.env.observation_space, "mission": Text(40), "cells": CELLS})
        self.action_space = MultiDiscrete([2, 3])

    def reset(self, **kwargs):
        numbers, info = self.env.reset(**kwargs)
        return self.seen(numbers), info

    def step(self, action):
        numbers, *rest = self.env.step(int(action[0]))
        return self.seen(numbers), *rest

    def seen(self, numbers):
        cells = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
        return {"numbers": numbers, "mission": "balance the pole", "cells": cells}


gym.register("HandEyeTest/Dictated-v0", entry_point=Mission, max_episode_steps=6, disable_env_checker=True)
SPEC = EnvSpec("HandEyeTest/Dictated-v0", {}, SuccessRule("return", 6), held=("observation.mission",))
TASK = Task("mission", "tests", "practice", SPEC, language=EnvInstruction("observation.mission"))


@pytest.mark.parametrize(("observe", "kind"), [("state", StatePolicy), ("pixels", PixelPolicy)])
def test_a_state_with_text_is_trained_on_and_played(tmp_path, observe, kind):
    path = tmp_path / "policy.zip"
    train(TASK, Baseline("mission", "ppo", observe, steps=16, n_envs=1)).save(path)
    trust.vouch(path)
    policy = load(path, TASK)
    assert isinstance(policy, kind)
    (episode,) = rollout(TASK, policy, [(0, 0)])
    assert episode.ending in ("terminated", "truncated")
    assert all(TASK.make().action_space.contains(step.decision.action) for step in episode.steps)
    assert episode.steps[0].observation.instruction == "balance the pole"
    assert np.asarray(episode.steps[0].decision.action).shape == (2,)


def test_words_and_cells_of_a_state_are_numbers():
    """A picture that is too small for SB3's convolutions is a row of numbers; another text is other numbers."""
    env = watched(TASK, "state")
    seen, _ = env.reset(seed=0)
    assert seen["cells"].tolist() == list(range(27))
    assert all(part.contains(seen[key]) for key, part in env.observation_space.spaces.items())
    other = plain({**env.env.observation, "mission": "drop the pole"}, env.env.observation_space)
    assert (other["mission"] != seen["mission"]).any()
    assert (other["numbers"] == seen["numbers"]).all()
    env.close()
