"""Environments from a file are tried before anything is played: each oddity is one line, or it works."""

import gymnasium as gym
import numpy as np
import pytest
from odd_line import dies, ends

from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from agent.organise.store import EpisodeStore
from envs.errors import UserError
from envs.foreign.actions import key
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import RandomPolicy

BEGUN = [(seed, 0) for seed in range(4)]


def played(task):
    return rollout(task, RandomPolicy(codec_for(task).action.space), BEGUN)


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("Older", {}, r"reset of '.*' returned array.* as gym before 0.26 did; valid: \(observation, info\)"),
        (
            "OlderStep",
            {},
            r"step of '.*' returned 4 values, as gym before 0.26 did; valid: \(observation, rew",
        ),
        ("Seedless", {}, "takes no seed and no options"),
        ("NoMode", {}, "its constructor takes no render_mode"),
        ("NoAssets", {}, "cannot be made: FileNotFoundError: scene.xml"),
        ("Endless", {}, "has no time limit: an episode might never end; valid: max_steps"),
        ("Endless", {"max_episode_steps": -1}, "has no time limit"),
        ("OddLine", {"max_episode_steps": -3}, "kwargs.max_episode_steps = -3; valid: a whole number"),
        ("OddLine", {"max_episode_steps": 0}, "kwargs.max_episode_steps = 0; valid"),
        ("OddLine", {"max_episode_steps": "ten"}, "kwargs.max_episode_steps = 'ten'; valid"),
        ("OddLine", {"max_episode_steps": 2.5}, "kwargs.max_episode_steps = 2.5; valid"),
        ("OddLine", {"max_episode_steps": True}, "kwargs.max_episode_steps = True; valid"),
        ("OddLine", {"colour": "red"}, "unknown argument of '.*' 'colour'; valid: .*draws.* in all\\)"),
        ("OddLine", {"render_mode": "human"}, "kwargs.render_mode = 'human'; valid: leave it out"),
        ("OddLine", {"id": "CartPole-v1"}, "kwargs.id = 'CartPole-v1'; valid: leave it out"),
        ("OddLin", {}, "unknown environment '.*OddLin-v0'; valid: HandEyeTest/OddLine-v0"),
        ("OddLine", {"draws": "global"}, r"reset\(seed=...\) of '.*' does not decide the start"),
        ("OddLine", {"noise": True}, "does not decide its steps: the same actions lead elsewhere"),
        (
            "OddLine",
            {"in_reset": ends(RuntimeError("no\nscene"))},
            "raises in every episode; .*Error: no scene",
        ),
        ("OddLine", {"raises": ends(MemoryError())}, "raises in every episode; .*: MemoryError$"),
        ("OddLine", {"raises": ends(SystemExit(3))}, "raises in every episode; .*: SystemExit: 3"),
        ("OddLine", {"raises": dies}, "ends its process with SIGKILL within its first 10 steps"),
    ],
)
def test_an_odd_environment_is_refused_in_one_line(odd, kind, kwargs, message):
    with pytest.raises(UserError, match=message) as error:
        odd(kind, **kwargs).make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v9", "valid: CartPole-v1, CartPole-v0"),
        ("cartpole-v1", "valid: CartPole-v1, CartPole-v0"),
        ("LunarLander-v2", "valid: LunarLander-v3"),
        # or, once Gymnasium-Robotics is imported, which registers it, what that version needs
        ("HalfCheetah-v3", "moved to the gymnasium-robotics project .* valid: HalfCheetah-v5|mujoco_py"),
        ("ALE/Pong-v5", r"unknown environment 'ALE/Pong-v5'; valid: .*one of a package is MODULE:ID"),
        ("my env v0!", "Malformed environment ID"),
        ("nowhere_at_all:Pong-v5", "task 'odd': environment 'nowhere_at_all:Pong-v5' needs nowhere_at_all; valid once"),
        ("envs.nowhere:Pong-v5", "needs envs.nowhere; valid once it is installed"),
        (".odd:Pong-v5", "cannot be made"),
        (":", "unknown|Malformed|cannot be made"),
    ],
)
def test_an_id_that_is_not_there_is_named_with_the_nearest(odd, name, message):
    task = odd().with_env(id=name, kwargs={})
    with pytest.raises(UserError, match=message):
        task.make()


@pytest.mark.parametrize("name", ["CartPole-v9", "my env v0!", "nowhere_at_all:Pong-v5", ".odd:Pong-v5"])
def test_an_id_that_is_not_there_has_no_horizon_and_is_named(odd, name):
    with pytest.raises(UserError, match=name):
        assert odd().with_env(id=name, kwargs={}).horizon


def test_an_environment_that_raises_now_and_then_is_played(odd):
    task = odd(raises=lambda seed: ends(RuntimeError("blew up"))(seed) if seed == 1 else None)
    assert [(e.ending, e.error) for e in played(task)][:2] == [("terminated", ""), ("broken", "RuntimeError: blew up")]


def test_an_environment_that_exits_breaks_its_own_episode(odd):
    task = odd(in_reset=lambda seed: ends(SystemExit(3))(seed) if seed == 2 else None)
    assert [e.error for e in played(task)] == ["", "", "SystemExit: 3", ""]


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(2, start=5),
        gym.spaces.Discrete(1),
        gym.spaces.Discrete(3, start=-7),
        gym.spaces.Box(-3, 3, (2,), np.int64),
        gym.spaces.Box(0, 255, (3,), np.uint8),
        gym.spaces.Box(50, 100, (1,), np.int8),
        gym.spaces.Box(-1, 1, (2,), np.float16),
        gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 0], np.float32)),
        gym.spaces.Box(-1e38, 1e38, (1,), np.float32),
        gym.spaces.Box(-1, 1, (80,), np.float32),
        gym.spaces.Text(20, min_length=0, charset="0123456789.-+e "),
        gym.spaces.Box(-1, 1, (2, 2), np.float64),
        gym.spaces.MultiDiscrete([2, 3], start=[1, 0]),
        gym.spaces.MultiBinary((2, 2)),
        gym.spaces.Dict(
            {"a": gym.spaces.Box(-1, 1, (2,), np.float64), "b": gym.spaces.Tuple((gym.spaces.Discrete(2),))}
        ),
    ],
)
def test_an_odd_space_with_words_is_played_and_certified_from_disk(odd, space, monkeypatch, tmp_path):
    task = odd(space=space)
    monkeypatch.setitem(TASKS, "odd", task)
    episodes = played(task)
    assert {e.ending for e in episodes} == {"terminated"}
    store = EpisodeStore(tmp_path)
    store.append(episodes)
    stored = next(iter(store))
    for step, kept in zip(episodes[0].steps, stored.steps, strict=True):
        assert space.contains(kept.decision.action)
        assert key(kept.decision.action) == key(step.decision.action)
    with Verifier() as verifier:
        assert [verifier.flaw(episode) for episode in (episodes[0], stored)] == ["", ""]


@pytest.mark.parametrize(
    "observed",
    [
        lambda x: {"a": x, "b": {"c": np.int64(x)}},
        lambda x: (x, np.float32(x)),
        lambda x: f"at {x}",
        lambda x: np.array([x, np.nan]),
        lambda x: np.array([str(x)]),
        lambda x: gym.spaces.GraphInstance(np.array([[x]]), None, None),
        lambda x: None,
    ],
)
def test_what_is_observed_beside_the_pictures_may_be_anything(odd, observed, monkeypatch):
    task = odd(observed=observed)
    monkeypatch.setitem(TASKS, "odd", task)
    with Verifier() as verifier:
        assert verifier.flaw(played(task)[0]) == ""
