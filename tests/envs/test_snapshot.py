"""A saved state is restored exactly: the steps that follow are equal bit for bit, through all wrappers."""

import hashlib
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit

from agent.collect.rollout import rollout
from agent.measure.bench import make, replays, trajectory, wander
from envs.errors import UserError
from envs.foreign.resets.plain import LARGE, NotPlainError, copied, feed, to_feed
from envs.language import FixedInstruction
from envs.registry import TASKS
from envs.rendering import mujoco
from envs.snapshot import Restorable
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule
from policies.baselines import RandomPolicy

STOCK = (
    "Reacher-v5",
    "Pusher-v5",
    "HalfCheetah-v5",
    "InvertedPendulum-v5",
    "Ant-v5",
    "Humanoid-v5",
    "CartPole-v1",
    "FrozenLake-v1",
)
TRIALS, MAX_STATE_BYTES = 10, 5120


@pytest.mark.parametrize("name", ["reach", "push", *STOCK])
def test_what_follows_a_restored_state_is_the_same(name):
    assert replays(name, TRIALS) == TRIALS


def test_a_state_that_is_not_restored_is_noticed(monkeypatch):
    restore = Restorable.restore

    def sloppy(self, snapshot):
        restore(self, snapshot)
        self.unwrapped.data.qvel[0] += 1e-12

    monkeypatch.setattr(Restorable, "restore", sloppy)
    assert replays("Reacher-v5", 3) == 0


@pytest.mark.parametrize("name", ["reach", "push", *STOCK[:5]])
def test_a_mujoco_state_is_copied_and_small(name):
    env = make(name)
    wander(env, 3)
    saved = env.snapshot()
    assert saved.physics is not None
    assert saved.actions == ()
    assert len(pickle.dumps(saved)) <= MAX_STATE_BYTES


@pytest.mark.parametrize("name", ["reach", *STOCK[:1], "CartPole-v1"])
def test_what_was_observed_comes_back(name):
    """A policy that acts on the restored observation acts as before."""
    env = make(name)
    wander(env, 3)
    saved, seen = env.snapshot(), env.observation.copy()
    wander(env, 4)
    assert (env.observation != seen).any()
    env.restore(saved)
    np.testing.assert_array_equal(env.observation, seen)


def test_a_snapshot_travels_to_another_process_and_back():
    env = make("push")
    actions = wander(env, 5)
    saved = pickle.loads(pickle.dumps(env.snapshot()))
    first = trajectory(env, actions)
    env.restore(saved)
    assert trajectory(env, actions) == first


def test_the_frames_of_a_history_come_back_and_are_held_small():
    """Exactly, and in a snapshot as PNGs."""
    task = TASKS["push"].with_env(frames=3).sized(96)
    env = task.make()
    env.reset(seed=4)
    wander(env, 3)
    saved, seen = env.snapshot(), task.observe(env).frames
    assert len(pickle.dumps(saved)) < seen.nbytes / 8
    wander(env, 4)
    assert (task.observe(env).frames != seen).any()
    for _ in range(2):  # a snapshot may be returned to again
        env.restore(pickle.loads(pickle.dumps(saved)))
        np.testing.assert_array_equal(task.observe(env).frames, seen)
        wander(env, 1)
    env.close()


def test_wrappers_and_random_generators_come_along():
    class Noisy(gym.Wrapper):
        """Adds noise to the reward, from a generator of its own, and counts."""

        def __init__(self, env):
            super().__init__(env)
            self.rng, self.log = np.random.default_rng(0), []

        def step(self, action):
            observation, reward, *rest = self.env.step(action)
            self.log.append(reward)
            return observation, reward + self.rng.normal() + len(self.log), *rest

    env = Restorable(TimeLimit(RecordEpisodeStatistics(Noisy(gym.make("Reacher-v5"))), 20))
    actions = wander(env, 12)
    saved = env.snapshot()
    assert saved.physics is not None
    first = trajectory(env, actions)
    assert len(first) == 8  # after 12: TimeLimit counts on
    assert first[-1][3]
    env.restore(saved)
    assert trajectory(env, actions) == first


def test_what_cannot_be_copied_is_replayed():
    class Foreign(gym.Wrapper):
        """Holds something that is not plain, as Box2D does."""

        def reset(self, **kwargs):
            self.counter = iter(range(1000))
            return self.env.reset(**kwargs)

        def step(self, action):
            observation, reward, *rest = self.env.step(action)
            return observation, reward + next(self.counter), *rest

    env = Restorable(Foreign(gym.make("Reacher-v5")))
    actions = wander(env, 4)
    saved = env.snapshot()
    assert saved.physics is None
    assert len(saved.actions) == 4
    first = trajectory(env, actions)
    env.restore(saved)
    assert trajectory(env, actions) == first


def test_the_colours_of_another_episode_are_restored_too():
    env, other = make("push"), make("push")
    wander(env, 3)
    other.reset(seed=8)
    other.restore(env.snapshot())
    assert other.unwrapped.instruction == env.unwrapped.instruction
    assert (other.unwrapped.model.geom_rgba == env.unwrapped.model.geom_rgba).all()
    assert other.unwrapped.scene.places().keys() == env.unwrapped.scene.places().keys()


def test_a_fingerprint_tells_states_apart():
    env = make("push")
    actions = wander(env, 3)
    before = env.fingerprint()
    assert env.fingerprint() == before
    data = env.unwrapped.data
    data.qpos[0] = np.nextafter(data.qpos[0], 1.0)
    assert env.fingerprint() != before
    wander(env, 3)
    assert env.fingerprint() == before
    env.unwrapped.np_random.random()
    assert env.fingerprint() != before
    assert len({entry[-1] for entry in trajectory(env, actions)}) > 1


def test_a_large_table_counts_by_what_it_holds():
    """What is fed of it is kept, and found again until the table changes, also in place."""

    def fed(values):
        digest = hashlib.blake2b()
        feed(values, digest)
        return digest.digest()

    table = {f"s{i}": [(1 / 3, np.int64(i), 0, False), np.arange(3) * i] for i in range(2 * LARGE)}
    first = fed(to_feed(table))
    assert fed(to_feed(table)) == first == fed(copied(table))
    table["s3"][0] = (1 / 3, np.int64(4), 0, False)
    assert fed(to_feed(table)) == fed(copied(table)) != first
    table["s3"][1][:] = 7
    assert fed(to_feed(table)) == fed(copied(table))
    with pytest.raises(NotPlainError):
        to_feed([*range(LARGE), object()])
    drawn = [np.random.default_rng(0)] * LARGE
    assert to_feed(drawn) == copied(drawn)


def test_no_way_back_to_an_episode_without_a_seed():
    env = make("reach")
    env.reset()
    with pytest.raises(UserError, match="seed"):
        env.snapshot()


# simulators that build their model anew ----------------------------------------------------------------------------
MODEL = """<mujoco><worldbody><body pos="{x} 0 0"><joint name="x" type="slide" axis="1 0 0"/><geom size=".1"/></body>
{more}</worldbody><actuator><motor joint="x"/></actuator></mujoco>"""


class Rebuilt(gym.Env):
    """Builds its MuJoCo model anew at each reset, with another place and another number of other things; also before
    step `moves_at`, as some do that go on to a next scene."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, moves_at=None, render_mode=None):
        self.moves_at = moves_at
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.render_mode = render_mode
        self.build()

    def build(self):
        more = "<body><freejoint/><geom size='.01'/></body>" * self.np_random.integers(0, 3)
        self.model = mujoco.MjModel.from_xml_string(MODEL.format(x=self.np_random.uniform(), more=more))
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n = 0
        self.build()
        return self.observed(), {}

    def observed(self):
        return np.array([self.data.qpos[0], self.data.xpos[1][0]])

    def step(self, action):
        self.n += 1
        if self.n == self.moves_at:
            self.build()
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 5)
        return self.observed(), float(self.data.qpos[0]), False, False, {}


def test_the_state_of_a_model_that_is_built_anew_is_in_the_fingerprint():
    env = Restorable(TimeLimit(Rebuilt(), 20))
    wander(env, 3)
    before = env.fingerprint()
    env.unwrapped.data.qpos[0] += 1e-9
    assert env.fingerprint() != before


@pytest.mark.parametrize("moves_at", [None, 4])
def test_a_state_of_a_model_that_is_built_anew_is_restored(moves_at):
    """In its own episode, in another of the same environment, and in another environment."""
    env, other = (Restorable(TimeLimit(Rebuilt(moves_at), 20)) for _ in range(2))
    for before in (2, 3, 6):
        actions = wander(env, before)
        saved, fingerprint, seen = env.snapshot(), env.fingerprint(), env.observation
        assert (saved.physics is None) == (moves_at is not None and before > moves_at)
        first = trajectory(env, actions)
        assert any(entry[1] for entry in first)
        for again in (env, env, other):
            again.restore(saved)
            assert again.fingerprint() == fingerprint
            np.testing.assert_array_equal(again.observation, seen)
            assert trajectory(again, actions) == first
            again.reset(seed=99)


def test_a_task_whose_model_is_built_anew_begins_its_episodes_and_replays_them():
    gym.register("HandEyeTest/Rebuilt-v0", Rebuilt, max_episode_steps=6, disable_env_checker=True)
    spec = EnvSpec("HandEyeTest/Rebuilt-v0", {}, SuccessRule("return", at_least=9), image_size=8)
    task = Task("rebuilt", "test", "practice", spec, language=FixedInstruction("push", ("push",)))
    policy = RandomPolicy(gym.spaces.Box(-1, 1, (1,), np.float32))
    played = [rollout(task, policy, [(seed, 0) for seed in seeds], n_envs=1) for seeds in (range(6), range(5, -1, -1))]
    assert {episode.ending for episodes in played for episode in episodes} == {"truncated"}
    first, again = ({e.seed: [step.fingerprint for step in e.steps] for e in episodes} for episodes in played)
    assert first == again
