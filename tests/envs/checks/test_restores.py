"""States are returned to by snapshots where these lead back, else by actions, else not at all: found out, and said."""

import multiprocessing
import random
from collections import Counter
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agent.collect.branching import Point
from agent.collect.processes.serving import Pulse
from agent.collect.processes.watched import WatchedTask
from agent.collect.rollout import rollout
from agent.collect.streamed import _retaken
from agent.collect.verify import Verifier
from agent.collect.workers import Job
from envs.checks import restores
from envs.checks.restores import Way, check_repeats, way_back
from envs.errors import UserError
from envs.language import FixedInstruction
from envs.registry import TASKS
from envs.rendering import mujoco
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule
from policies.backends.settings import ModelSettings
from policies.baselines import RandomPolicy

XML = """<mujoco><option timestep="0.01"/><worldbody><light pos="0 0 3"/>
<body pos="0 0 1"><joint name="x" type="slide" axis="1 0 0"/><geom size=".3"/></body>
</worldbody><actuator><motor joint="x" gear="20"/></actuator></mujoco>"""


class Rail(gym.Env):
    """A mass on a rail, pushed by a motor, without any fault."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)
    resets = Counter()  # noqa: RUF012 (counted over all environments of a kind)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.model = mujoco.MjModel.from_xml_string(XML)
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets[type(self)] += 1
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[0] = self.np_random.uniform(-0.1, 0.1)
        return self.data.qpos.copy(), {}

    def step(self, action):
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 3)
        return self.data.qpos.copy(), float(self.data.qpos[0]), False, False, {}


class Worn(Rail):
    """Its motor wears out: what its steps change in the model is no part of MuJoCo's state."""

    def reset(self, **kwargs):
        self.model.actuator_gear[0, 0] = 20
        return super().reset(**kwargs)

    def step(self, action):
        self.model.actuator_gear[0, 0] *= 0.9
        return super().step(action)


class Drifting(Worn):
    """Each reset finds it elsewhere, whatever the seed."""

    def reset(self, **kwargs):
        result = super().reset(**kwargs)
        self.data.qpos[0] += 0.01 * self.resets[type(self)]
        return result


class Raising(Rail):
    """Raises once it has been reset, later than its episode."""

    def step(self, action):
        if self.resets[type(self)] > 1:
            raise RuntimeError("no more")
        return super().step(action)


class Stale(Rail):
    """Simulates something else than the state that it shows."""

    def reset(self, **kwargs):
        self.simulated = mujoco.MjData(self.model)
        return super().reset(**kwargs)

    def step(self, action):
        self.simulated.ctrl[:] = action
        mujoco.mj_step(self.model, self.simulated, 3)
        return self.simulated.qpos.copy(), 0.0, False, False, {}


for kind in (Rail, Worn, Drifting, Raising, Stale):
    gym.register(f"HandEyeTest/{kind.__name__}-v0", kind, max_episode_steps=24, disable_env_checker=True)


@pytest.fixture
def task(monkeypatch):
    """Makes the task of a kind of environment; nothing is known of it yet."""
    monkeypatch.setattr(restores, "_WAYS", {})
    monkeypatch.setattr(restores, "_REPEATS", {})
    Rail.resets.clear()

    def make(kind):
        name = kind.__name__.lower()
        spec = EnvSpec(f"HandEyeTest/{kind.__name__}-v0", {}, SuccessRule("return", at_least=1), image_size=8)
        made = Task(name, "test", "practice", spec, language=FixedInstruction("push", ("push",)))
        monkeypatch.setitem(TASKS, name, made)
        return made

    return make


ACTIONS = [np.full(1, np.sin(i), np.float32) for i in range(24)]


def way(chosen, actions=ACTIONS):
    said = []
    return way_back(chosen, 3, None, actions, said.append), said


@pytest.mark.parametrize("n", [1, 2, 24])
def test_snapshots_that_lead_back_are_used_in_silence(task, n):
    assert way(task(Rail), ACTIONS[:n]) == (Way.SAVED, [])


@pytest.mark.parametrize("name", ["push", "reacher", "frozen-lake"])
def test_tasks_of_the_registry_lead_back(name):
    chosen, env = TASKS[name], TASKS[name].make()
    env.action_space.seed(1)
    assert way(chosen, [env.action_space.sample() for _ in range(5)]) == (Way.SAVED, [])


def test_where_a_snapshot_does_not_lead_back_the_actions_are_repeated(task):
    chosen = task(Worn)
    found, said = way(chosen)
    assert found is Way.REPEATED
    (line,) = said
    assert line.startswith("task 'worn': a state that was saved does not lead back (another state after 1 steps)")
    assert way(chosen) == (Way.REPEATED, [])  # it is found out once, and said once


def test_where_nothing_leads_back_the_task_is_refused_by_name(task):
    for _ in range(2):
        with pytest.raises(UserError, match=r"task 'drifting' does not happen again.*another state"):
            way(task(Drifting))
    with pytest.raises(UserError, match=r"task 'drifting' does not happen again.*another state"):
        check_repeats(task(Drifting), 3, None, ACTIONS)


def test_an_environment_that_raises_tells_nothing(task):
    chosen = task(Raising)
    Raising.resets[Raising] = 1
    assert way(chosen) == (Way.REPEATED, [])
    check_repeats(chosen, 3, None, ACTIONS)
    assert restores._WAYS == restores._REPEATS == {}


def test_the_check_draws_no_random_numbers(task):
    class Drawing(Rail):
        def step(self, action):
            np.random.random(), random.random()  # noqa: NPY002
            return super().step(action)

    gym.register("HandEyeTest/Drawing-v0", Drawing, max_episode_steps=24, disable_env_checker=True)
    np.random.seed(1), random.seed(1)  # noqa: NPY002
    first = np.random.random(), random.random()  # noqa: NPY002
    np.random.seed(1), random.seed(1)  # noqa: NPY002
    way(task(Drawing))
    assert (np.random.random(), random.random()) == first  # noqa: NPY002


# in a rollout ------------------------------------------------------------------------------------------------------
def roll(chosen, snapshots=True):
    policy = RandomPolicy(gym.spaces.Box(-1, 1, (1,), np.float32))
    return rollout(chosen, policy, [(0, 0), (1, 0), (2, 0)], n_envs=2, snapshots=snapshots)


def test_a_rollout_keeps_its_snapshots(task):
    assert all(step.snapshot.physics is not None for e in roll(task(Rail)) for step in e.steps)


def test_a_worker_counts_no_episodes_of_the_check(task):
    """Its pulse tells the pool which start is at work."""
    pulse = Pulse(multiprocessing.get_context())
    roll(WatchedTask(task(Rail), pulse, None))
    assert pulse.begun == 3


def test_branches_of_a_task_whose_snapshots_do_not_lead_back_are_certified(task, capsys):
    chosen = task(Worn)
    episodes = roll(chosen)
    assert {step.snapshot for e in episodes for step in e.steps} == {None}
    assert capsys.readouterr().out.count("task 'worn'") == 1
    starts = [Point(e, 9).start(attempt=1, repeat=0, first=e.steps[9].decision) for e in episodes]
    rests = rollout(chosen, RandomPolicy(gym.spaces.Box(-1, 1, (1,), np.float32)), starts)
    for episode, rest in zip(episodes, rests, strict=True):
        assert rest.steps[1].fingerprint == episode.steps[10].fingerprint
    with Verifier() as verifier:
        assert [verifier.flaw(e) for e in [*episodes, *rests]] == [""] * 6


def test_snapshots_that_are_taken_again_after_a_crash_are_tried_too(task):
    """Of episodes that were read back from disk, which have none."""
    for kind, is_saved in ((Rail, True), (Worn, False)):
        chosen = task(kind)
        episodes = roll(chosen, snapshots=False)
        taken = _retaken(Job(chosen.name, Path("none"), model=ModelSettings(image_size=8)), episodes)
        assert {snapshot is not None for snapshots in taken for snapshot in snapshots} == {is_saved}


def test_a_task_that_does_not_happen_again_is_not_branched_or_certified(task):
    chosen = task(Drifting)
    with pytest.raises(UserError, match="task 'drifting'"):
        roll(chosen)
    episodes = roll(chosen, snapshots=False)
    with Verifier() as verifier, pytest.raises(UserError, match="task 'drifting'"):
        verifier.flaw(episodes[0])


def test_a_fingerprint_that_stands_still_certifies_nothing(task):
    chosen = task(Stale)
    episode = roll(chosen, snapshots=False)[0]
    with Verifier() as verifier:
        assert "stands still" in verifier.flaw(episode)
