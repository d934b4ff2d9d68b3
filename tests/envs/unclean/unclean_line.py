"""A dot on a line in environments whose resets are not clean, or whose states can be returned to in other ways."""

import random
import time
from types import SimpleNamespace

import gymnasium as gym
import numpy as np

from envs.rendering import mujoco
from envs.splits import SPLITS

PLACES = 30
XML = """<mujoco><option timestep="0.01"/><worldbody><body><joint name="x" type="slide" axis="1 0 0"/>
<geom size=".1"/></body></worldbody><actuator><motor joint="x"/></actuator></mujoco>"""


class Clean(gym.Env):
    """A dot moves on a line; its seed decides the start. `drift` is added in each step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (gymnasium's own form)
    made, closed = 0, 0  # over all environments of a kind

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = gym.spaces.Discrete(2)
        type(self).made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.start()
        return np.array([self.x], np.float64), {}

    def start(self):
        return float(self.np_random.uniform(0, 9))

    def drift(self):
        return 0.0

    def step(self, action):
        self.x = self.x + 1 - int(action) / 2 + self.drift()
        return np.array([self.x], np.float64), float(self.x), False, False, {"success": self.x > PLACES}

    def render(self):
        picture = np.full((16, 16, 3), 255, np.uint8)
        picture[4:8, int(self.x) % 16] = int(16 * (self.x % 1)) * 8
        return picture

    def close(self):
        type(self).closed += 1


class Keeping(Clean):
    """What the last action was is kept over a reset, and drawn."""

    last = 0

    def step(self, action):
        self.last = int(action)
        return super().step(action)

    def render(self):
        return super().render() - np.uint8(100 * self.last)


class Unseeded(Clean):
    """Its constructor draws from the operating system."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.offset = float(gym.utils.seeding.np_random()[0].uniform()) + float(np.random.default_rng().uniform())

    def start(self):
        return super().start() + self.offset


class UnseededLevel(Unseeded):
    """Its constructor alone decides the start."""

    def start(self):
        return self.offset


class Global(Clean):
    """Its resets and steps draw from the module-wide generators."""

    def start(self):
        return float(np.random.uniform() + random.random())  # noqa: NPY002

    def drift(self):
        return float(np.random.normal() + random.random())  # noqa: NPY002


class Sampling(Clean):
    """Its reset and its steps draw from its own action space."""

    def start(self):
        return float(np.mean([self.action_space.sample() * 2**i for i in range(9)]) / 8)

    def drift(self):
        return float(self.action_space.sample())


class Windy(Clean):
    """Its steps draw from its own generator; its state says nothing of what comes. It ends at the first gust."""

    def drift(self):
        self.gust = bool(self.np_random.random() < 0.1)
        return float(self.np_random.normal())

    def step(self, action):
        observation, reward, _, *rest = super().step(action)
        return observation, reward, self.gust, *rest


class Timed(Clean):
    """The time of day moves it: no cure."""

    def drift(self):
        return time.perf_counter() % 1


class Seedless(Clean):
    """All its starts are one."""

    def reset(self, *, seed=None, options=None):
        self.x = 3.0
        return np.array([self.x], np.float64), {}


class Sharing(Clean):
    """A part of its state is one for all copies of it."""

    class Part:
        value = 0.0

        def __deepcopy__(self, memo):
            return self

        def __reduce__(self):
            return _the_part, ()

    def reset(self, **given):
        SHARED.value = 0.0
        self.part = SHARED
        return super().reset(**given)

    def drift(self):
        self.part.value += 0.25
        return self.part.value


SHARED = Sharing.Part()


def _the_part():
    return SHARED


class Nested(Clean):
    """Its state is in objects that refer to each other and to it."""

    def reset(self, **given):
        result = super().reset(**given)
        self.body = SimpleNamespace(speed=0.0, of=self, rng=random.Random(int(10 * self.x)))
        self.bodies = [self.body]
        return result

    def drift(self):
        self.bodies[0].speed += self.body.of.body.rng.random()
        return self.body.speed


class Cloning(Clean):
    """Its state is behind a wall, as in an emulator, which clones it."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        memory = {"n": 0.0}

        def tick():
            memory["n"] += 0.125
            return memory["n"]

        self.emulator = SimpleNamespace(tick=tick, memory=memory)  # with a closure, which no pickle takes

    def clone_state(self, include_rng=False):
        return dict(self.emulator.memory) if include_rng else {"n": 0.0}

    def restore_state(self, state):
        self.emulator.memory.update(state)

    def reset(self, **given):
        self.restore_state({"n": 0.0})
        return super().reset(**given)

    def drift(self):
        return self.emulator.tick()


class Delayed(Cloning):
    """Takes the action before, which its clone lacks, as an emulator's that takes the last one again."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        last = [0]

        def exchanged(action):
            last.append(action)
            return last.pop(0)

        self.emulator.exchanged = exchanged

    def reset(self, **given):
        self.emulator.exchanged(0)
        return super().reset(**given)

    def step(self, action):
        return super().step(self.emulator.exchanged(int(action)))


class Physical(Clean):
    """MuJoCo moves it."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        model = mujoco.MjModel.from_xml_string(XML)
        self.hold(model, mujoco.MjData(model))
        self.task = SimpleNamespace(pushes=0)  # beside MuJoCo's state

    def data_held(self):
        raise NotImplementedError

    def start(self):
        data = self.data_held()
        mujoco.mj_resetData(data.model, data)
        data.qpos[0] = super().start()
        self.task.pushes = 0
        return float(data.qpos[0])

    def step(self, action):
        self.task.pushes += 1
        data = self.data_held()
        data.ctrl[0] = float(action) - 0.1 * (self.task.pushes % 3)
        mujoco.mj_step(data.model, data, 5)
        self.x = float(data.qpos[0])
        return np.array([self.x], np.float64), self.x, False, False, {"success": False}


class BehindPhysics(Physical):
    """As dm_control has it."""

    def hold(self, model, data):
        self.physics = SimpleNamespace(data=SimpleNamespace(ptr=data), model=SimpleNamespace(ptr=model))

    def data_held(self):
        return self.physics.data.ptr


class BehindSim(Physical):
    """As robosuite has it."""

    def hold(self, model, data):
        self.sim = SimpleNamespace(data=SimpleNamespace(_data=data), model=SimpleNamespace(_model=model))

    def data_held(self):
        return self.sim.data._data


class Windowed(BehindSim):
    """It keeps arrays: one is its own, one is MuJoCo's."""

    def start(self):
        start, data = super().start(), self.data_held()
        self.pushed, self.place = np.zeros(2), data.qpos
        return start

    def step(self, action):
        self.pushed[int(action)] += 1
        observation, _, *rest = super().step(action)
        return observation, float(self.place[0] + self.pushed @ (1, 2)), *rest


class TimeOut(Clean):
    """Sets both flags when its own time is out."""

    def reset(self, **given):
        self.n = 0
        return super().reset(**given)

    def step(self, action):
        self.n += 1
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.n == 4, self.n == 4, info


class Dusty(Clean):
    """The last digit of its reward is now this, now that, as of an area that a geometry library computes."""

    steps = 0  # of all environments of the kind

    def step(self, action):
        type(self).steps += 1
        observation, reward, *rest = super().step(action)
        return observation, np.nextafter(reward, np.inf) if type(self).steps % 3 else reward, *rest


class Fragile(Keeping):
    """Making it for the third time fails; the next does not."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        if type(self).made == 3:
            raise RuntimeError("no more windows")


class Ending(Clean):
    """No episode gets on but those of the last seeds of practice, which try an environment."""

    def step(self, action):
        if self.np_random_seed < SPLITS["practice"][-2]:
            raise RuntimeError("no more")
        return super().step(action)


KINDS = (
    *(Clean, Keeping, Unseeded, UnseededLevel, Global, Sampling, Windy, Timed, Seedless, Sharing, Nested, Cloning),
    *(Delayed, BehindPhysics, BehindSim, Windowed, TimeOut, Dusty, Fragile, Ending),
)
for kind in KINDS:
    gym.register(f"HandEyeTest/Unclean{kind.__name__}-v0", kind, max_episode_steps=60, disable_env_checker=True)
