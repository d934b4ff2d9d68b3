"""State that an environment keeps where no copy reaches it: a way back leads back all the same, or the task is refused.

What decides a step lies in a random generator of the whole process, a class, a closure, a file, or the clock. Whatever
way is found, what follows a restored state is what was recorded, reward by reward: no wrong number is ever certified.
"""

import itertools
import random
import threading
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agent.collect.rollout import rollout
from envs.checks import restores
from envs.errors import UserError
from envs.language import FixedInstruction
from envs.registry import TASKS
from envs.rendering import mujoco
from envs.snapshot import Snapshot
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule
from policies.baselines import RandomPolicy

XML = """<mujoco><option timestep="0.01"/><worldbody><light pos="0 0 3"/>
<body pos="0 0 1"><joint name="x" type="slide" axis="1 0 0"/><geom size=".3"/></body>
</worldbody><actuator><motor joint="x" gear="20"/></actuator></mujoco>"""
SHARED = {"n": 0}


class Slotted:
    __slots__ = ("n",)

    def __init__(self):
        self.n = 0


class Hiding(gym.Env):
    """A mass on a rail, pushed harder by what a hidden counter says. kind: where the counter is."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)
    counted = 0

    def __init__(self, kind, folder, render_mode=None):
        self.kind, self.place, self.render_mode = kind, str(Path(folder) / "counter"), render_mode
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.model = mujoco.MjModel.from_xml_string(XML)
        self.data = mujoco.MjData(self.model)
        self.kept = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[0] = self.np_random.uniform(-0.1, 0.1)
        np.random.seed(seed)  # noqa: NPY002 (as many do)
        random.seed(seed)
        self.own = random.Random(seed)
        self.count, self.slots, self.lock = itertools.count(1), Slotted(), threading.Lock()
        self.yielding = (n * n for n in itertools.count(1))
        Hiding.counted = SHARED["n"] = 0
        self.model.opt.gravity[0] = 0.0
        Path(self.place).write_text("0")
        cell = [0]
        self.closure = lambda: cell.append(cell[-1] + 1) or cell[-1]
        return self.data.qpos.copy(), {}

    def hidden(self):
        if self.kind == "numpy's generator":
            return np.random.random()  # noqa: NPY002
        if self.kind == "python's generator":
            return random.random()
        if self.kind == "a generator of its own":
            return self.own.random()
        if self.kind == "a class":
            Hiding.counted += 1
            return Hiding.counted
        if self.kind == "a module":
            SHARED["n"] += 1
            return SHARED["n"]
        if self.kind == "an iterator":
            return next(self.count)
        if self.kind == "a function that yields":
            return next(self.yielding)
        if self.kind == "slots":
            self.slots.n += 1
            return self.slots.n
        if self.kind == "a closure":
            return self.closure()
        if self.kind == "the model":
            self.model.opt.gravity[0] += 0.5
            return 0
        if self.kind == "a file":
            n = int(Path(self.place).read_text()) + 1
            Path(self.place).write_text(str(n))
            return n
        if self.kind == "beside a lock":
            with self.lock:
                self.slots.n += 2
            return self.slots.n
        if self.kind == "what no reset clears":
            self.kept += 1
            return self.kept
        return time.monotonic() % 1  # the clock

    def step(self, action):
        self.data.ctrl[:] = action * 0.1 + 0.01 * self.hidden()
        mujoco.mj_step(self.model, self.data, 3)
        return self.data.qpos.copy(), float(self.data.qpos[0]), False, False, {}


gym.register("HandEyeTest/Hiding-v0", Hiding, max_episode_steps=12, disable_env_checker=True)
FOUND = [
    *("numpy's generator", "python's generator", "a generator of its own", "a class", "a module", "an iterator"),
    *("a function that yields", "slots", "a closure", "the model", "a file", "beside a lock"),
]
LOST = ["what no reset clears", "the clock"]


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Makes the task of a kind; nothing is known of it yet. The generators of the process are as before afterwards."""
    monkeypatch.setattr(restores, "_WAYS", {})
    monkeypatch.setattr(restores, "_REPEATS", {})
    before = random.getstate(), np.random.get_state()  # noqa: NPY002

    def make(kind):
        kwargs = {"kind": kind, "folder": str(tmp_path)}
        spec = EnvSpec("HandEyeTest/Hiding-v0", kwargs, SuccessRule("return", at_least=1), image_size=8)
        made = Task("hiding", "test", "practice", spec, language=FixedInstruction("push", ("push",)))
        monkeypatch.setitem(TASKS, "hiding", made)
        return made

    yield make
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002


def after(env, snapshot, actions):
    env.restore(snapshot)
    return [env.step(action)[1] for action in actions]


def outcome(play):
    """What it returns, and the UserError that it raises."""
    try:
        return play(), None
    except UserError as error:
        return None, error


@pytest.mark.parametrize("kind", [*FOUND, *LOST])
def test_what_follows_a_restored_state_is_what_was_recorded_or_the_task_is_refused(task, kind):
    chosen = task(kind)
    policy = RandomPolicy(gym.spaces.Box(-1, 1, (1,), np.float32))
    played, error = outcome(lambda: rollout(chosen, policy, [(3, 0)], snapshots=True))
    if error:
        assert kind in LOST
        assert "task 'hiding' " in str(error)
        return
    (episode,) = played
    assert len(episode.steps) == 12
    actions, rewards = (
        [get(step) for step in episode.steps] for get in (lambda s: s.decision.action, lambda s: s.reward)
    )
    env = chosen.make()
    for at in (7, 0, 11, 3):
        saved = episode.steps[at].snapshot or Snapshot(3, None, tuple(actions[:at]))
        assert after(env, saved, actions[at:]) == rewards[at:]
    env.close()
