"""A simulation that went wrong breaks its episode, with the cause; it is no failure of the policy."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from agent import cli
from agent.collect.rollout import rollout
from envs.checks.health import Health
from envs.errors import SimulatorError, UserError
from envs.language import FixedInstruction
from envs.rendering import mujoco
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule
from policies.baselines import ZeroPolicy

XML = """<mujoco><option timestep="0.01"/><worldbody><light pos="0 0 3"/>
<body pos="0 0 1"><joint name="x" type="slide" axis="1 0 0"/><geom size=".1"/></body>
</worldbody><actuator><motor joint="x"/></actuator></mujoco>"""
BAD_STEP = 2


@pytest.fixture(autouse=True)
def _logged_elsewhere(tmp_path, monkeypatch):
    """MuJoCo writes its warnings into the working folder."""
    monkeypatch.chdir(tmp_path)


def diverge(env):
    env.data.qvel[:] = 1e12


def never_finite(env):
    env.data.qpos[:] = np.nan


def push_too_hard(env):
    env.data.qfrc_applied[:] = np.inf


def wind_back(env):
    env.data.time -= 1.0


def stop_the_clock(env):
    env.data.time = np.nan


def rebuild(env):
    """The clock of a new model begins at 0, which is no fault."""
    env.build()


class Slider(gym.Env):
    """A mass on a rail, to which `fault` is done before step BAD_STEP; `reward` is what that step gives."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, fault=None, reward=1.0, xml=XML, render_mode=None):
        self.fault, self.reward, self.xml, self.render_mode = fault, reward, xml, render_mode
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.build()

    def build(self):
        self.model = mujoco.MjModel.from_xml_string(self.xml)
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed=None, options=None):
        """Leaves MuJoCo's warnings as they are, as resets do that set positions and speeds."""
        super().reset(seed=seed)
        self.n, self.data.time = 0, 0.0
        self.data.qpos[:], self.data.qvel[:], self.data.qfrc_applied[:] = 0, 0, 0
        mujoco.mj_forward(self.model, self.data)
        return self.data.qpos.copy(), {}

    def step(self, action):
        self.n += 1
        if self.fault and self.n == BAD_STEP:
            self.fault(self)
        mujoco.mj_step(self.model, self.data, 3)
        return self.data.qpos.copy(), self.reward if self.n == BAD_STEP else 1.0, False, False, {}


gym.register("HandEyeTest/Slider-v0", entry_point=Slider, max_episode_steps=4, disable_env_checker=True)


def task(**kwargs):
    spec = EnvSpec("HandEyeTest/Slider-v0", kwargs, SuccessRule("return", at_least=4), image_size=8)
    return Task("slider", "test", "practice", spec, language=FixedInstruction("push", ("push",)))


def played(**kwargs):
    env = Health(gym.make("HandEyeTest/Slider-v0", **kwargs))
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(1, np.float32))
    return env


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (diverge, "BADQVEL.*reset the state by itself"),
        (never_finite, "BADQPOS.*reset the state by itself"),
        (push_too_hard, "BADQACC.*QACC at DOF 0.*reset the state by itself"),
        (wind_back, "clock went back within a step: 0.03 to -0.94 s"),
        (stop_the_clock, "clock is at nan"),
    ],
)
def test_a_simulation_that_went_wrong_names_the_cause(fault, cause):
    with pytest.raises(SimulatorError, match=cause):
        played(fault=fault)


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("of", "name", "value", "cause"),
    [
        ("data", "ctrl", NAN, "BADCTRL"),
        ("data", "xfrc_applied", INF, "BADQACC"),
        ("data", "qvel", NAN, "BADQVEL"),
        ("data", "qpos", INF, "BADQPOS"),
        ("data", "time", INF, "clock is at inf"),
        ("model", "opt.gravity", NAN, "BADQACC"),
        ("model", "opt.gravity", -1e30, "BADQACC"),
        ("model", "opt.timestep", NAN, "BADQPOS"),
        ("model", "opt.timestep", INF, "BADQPOS"),
        ("model", "opt.timestep", -0.01, "clock went back"),
        ("model", "body_mass", NAN, "BADQACC"),
        ("model", "opt.wind", NAN, "BADQACC"),
    ],
)
def test_a_number_of_the_simulation_that_cannot_be_is_noticed(of, name, value, cause):
    def fault(env):
        *way, last = name.split(".")
        place = getattr(env, of)
        for part in way:
            place = getattr(place, part)
        env.model.opt.density = 1.0  # else wind moves nothing
        if np.ndim(getattr(place, last)):
            getattr(place, last)[:] = value
        else:
            setattr(place, last, value)

    with pytest.raises(SimulatorError, match=cause):
        played(fault=fault)


@pytest.mark.parametrize("fault", [None, rebuild])
def test_a_sound_simulation_is_left_alone(fault):
    assert played(fault=fault).unwrapped.n == 3


@pytest.mark.parametrize("reward", [np.nan, np.inf, np.float32("-inf")])
def test_a_reward_must_be_a_finite_number(reward):
    with pytest.raises(SimulatorError, match=r"the reward is .*valid: a finite number"):
        played(reward=reward)


@pytest.mark.parametrize("reward", [None, "much", np.ones(2), 1j])
def test_a_reward_must_be_a_number(reward):
    with pytest.raises(UserError, match=r"the reward is .*valid: one number"):
        played(reward=reward)


@pytest.mark.parametrize("reward", [1, True, np.float32(2), np.array(0.5)])
def test_any_finite_number_is_a_reward(reward):
    assert played(reward=reward).unwrapped.n == 3


def test_a_full_buffer_of_contacts_is_no_play():
    """Contacts that found no room are missing: things fall through each other."""
    balls = "".join(f'<body pos="{i * 0.01} 0 .05"><freejoint/><geom size=".1"/></body>' for i in range(60))
    crowded = XML.replace("<mujoco>", '<mujoco><size memory="200K"/>').replace("</worldbody>", f"{balls}</worldbody>")
    with pytest.raises(SimulatorError, match=r"CONTACTFULL|CNSTRFULL"):
        played(xml=crowded)


def test_warnings_of_an_episode_do_not_break_the_next():
    env = Health(gym.make("HandEyeTest/Slider-v0", fault=diverge))
    env.reset(seed=0)
    action = np.zeros(1, np.float32)
    env.step(action)
    with pytest.raises(SimulatorError):
        env.step(action)
    env.reset(seed=1)
    env.step(action)


@pytest.mark.parametrize("wrong", [{"fault": push_too_hard}, {"reward": np.nan}])
def test_its_episode_is_broken_and_no_failure(wrong):
    chosen = task(**wrong)
    (episode,) = rollout(chosen, ZeroPolicy(gym.spaces.Box(-1, 1, (1,), np.float32)), [(0, 0)])
    assert (episode.ending, episode.success, len(episode.steps)) == ("broken", False, BAD_STEP - 1)
    assert episode.error.startswith("SimulatorError: ")


def test_an_environment_without_mujoco_has_rewards_too():
    class Nothing(gym.Env):
        def step(self, action):
            return 0, np.nan, False, False, {}

    with pytest.raises(SimulatorError, match="reward is nan"):
        Health(Nothing()).step(0)


def test_the_data_behind_another_library_is_found():
    """dm_control's physics hides MuJoCo's data behind a pointer of its own."""

    class Behind(gym.Env):
        def __init__(self):
            self.inner = Slider(diverge)
            self.physics = SimpleNamespace(data=SimpleNamespace(ptr=self.inner.data))

        def reset(self, **kwargs):
            return self.inner.reset(**kwargs)

        def step(self, action):
            return self.inner.step(action)

    env = Health(Behind())
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(SimulatorError, match="BADQVEL"):
        env.step(0)


def test_outside_an_episode_it_is_one_line(monkeypatch, capsys):
    """Such as while a baseline is trained."""
    monkeypatch.setattr(cli, "parse", lambda arguments: SimpleNamespace(run=lambda: played(fault=push_too_hard)))
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("handeye: error")]
    assert end.value.code == 2
    assert len(err) == 1
    assert "MuJoCo warned of BADQACC" in err[0]
