"""A task whose state SB3 cannot take in, for its text, is trained on pixels, with several discrete actions."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.spaces import Dict, MultiDiscrete, Text

from agent.collect.rollout import rollout
from agent.config import Baseline
from agent.measure.baseline import train
from envs.declared.instructions import EnvInstruction
from envs.errors import UserError
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule
from policies.experts import trust
from policies.sb3 import PixelPolicy, load, watched


class Mission(gym.Wrapper):
    """CartPole with a mission beside its numbers, pushed by the first of two choices."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, render_mode=None):
        super().__init__(CartPoleEnv(render_mode=render_mode))
        self.observation_space = Dict({"numbers": self.env.observation_space, "mission": Text(40)})
        self.action_space = MultiDiscrete([2, 3])

    def reset(self, **kwargs):
        numbers, info = self.env.reset(**kwargs)
        return {"numbers": numbers, "mission": "balance the pole"}, info

    def step(self, action):
        numbers, *rest = self.env.step(int(action[0]))
        return {"numbers": numbers, "mission": "balance the pole"}, *rest


gym.register("HandEyeTest/Dictated-v0", entry_point=Mission, max_episode_steps=6, disable_env_checker=True)
SPEC = EnvSpec("HandEyeTest/Dictated-v0", {}, SuccessRule("return", 6), held=("observation.mission",))
TASK = Task("mission", "tests", "practice", SPEC, language=EnvInstruction("observation.mission"))


def test_a_state_with_text_is_no_hindrance_to_pixels(tmp_path):
    with pytest.raises(UserError, match="which SB3 cannot take in; valid: pixels"):
        watched(TASK, "state")
    path = tmp_path / "policy.zip"
    train(TASK, Baseline("mission", "ppo", "pixels", steps=16, n_envs=1)).save(path)
    trust.vouch(path)
    policy = load(path, TASK)
    assert isinstance(policy, PixelPolicy)
    (episode,) = rollout(TASK, policy, [(0, 0)])
    assert episode.ending in ("terminated", "truncated")
    assert all(TASK.make().action_space.contains(step.decision.action) for step in episode.steps)
    assert episode.steps[0].observation.instruction == "balance the pole"
    assert np.asarray(episode.steps[0].decision.action).shape == (2,)
