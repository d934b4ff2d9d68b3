"""Pictures of environments that others wrote: their shape, whether they show anything, and who draws MuJoCo."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import spoken
from gymnasium.spaces import Box, Discrete
from spoken import ID, TEXT, WON, played

from envs.declared.instructions import EnvInstruction
from envs.errors import UserError
from envs.foreign.frames import squared
from envs.language import FixedInstruction
from envs.task import EnvSpec, Task
from envs.wrappers import SuccessRule


def test_a_wide_picture_is_drawn_as_a_whole_or_squashed(declare):
    wide, flat = (
        played(declare(f"{ID}{TEXT}{WON}image_size: 16\n{more}"), [(0, 0)])[0].steps[0].observation.frames[0]
        for more in ("", "fit: squash\n")
    )
    assert (wide[:4] == 0).all()
    assert (wide[-4:] == 0).all()
    assert wide[4:-4].min() > 0
    assert flat.min() > 0


def test_a_picture_of_any_shape_is_scaled_by_its_longer_side():
    tall = squared(np.full((40, 10, 3), 255, np.uint8), 8)
    assert [(tall[:, i] == 255).all() for i in range(8)] == [False] * 3 + [True] * 2 + [False] * 3
    np.testing.assert_array_equal(squared(np.full((5, 5, 3), 7, np.uint8), 8), np.full((8, 8, 3), 7))
    assert squared(np.full((1, 900, 3), 255, np.uint8), 8).max() == 255


def drawing(draws, **changes):
    spec = EnvSpec("HandEyeTest/Spoken-v0", {"draws": draws}, SuccessRule("is_success", 1), **changes)
    return Task("odd", "declared", "practice", spec, language=FixedInstruction("go"))


def black(x):
    return np.zeros((20, 40, 3), np.uint8)


def fixed(x):
    return spoken.picture(3.0)


@pytest.mark.parametrize(
    ("draws", "still", "said"),
    [
        (black, False, r"show nothing: 20 random steps all gave the same one, of one colour \(0, 0, 0\); valid: "),
        (black, True, "show nothing"),
        (fixed, False, "show nothing: 20 random steps all gave the same one; valid: .*`still: true` in the task's"),
    ],
)
def test_a_picture_that_shows_nothing_is_refused(draws, still, said):
    with pytest.raises(UserError, match=said):
        drawing(draws, still=still).make()


def test_a_picture_that_may_stay_the_same_is_taken_by_the_users_word():
    drawing(fixed, still=True).make().close()


def test_one_colour_that_changes_shows_something():
    drawing(lambda x: np.full((20, 40, 3), int(20 * x), np.uint8)).make().close()


def test_a_driver_that_does_not_draw_is_named(monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.raises(UserError, match="valid: SDL_VIDEODRIVER=offscreen in place of dummy"):
        drawing(black).make()


MODEL = """<mujoco><worldbody><light pos="0 0 3"/><camera name="top" pos="0 0 2"/><camera name="away" pos="0 0 -9"/>
<body><joint name="j" type="slide" axis="1 0 0" limited="true" range="-.5 .5"/><geom size=".2" rgba="1 0 0 1"/>
<geom group="3" size=".3" pos="0 .6 0" rgba="0 1 0 1"/></body></worldbody>
<actuator><motor joint="j" gear="4"/></actuator></mujoco>"""


class Drawn(gym.Env):
    """MuJoCo, with a renderer of its own that looks from above and shows a hidden group."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, render_mode=None, camera="top", shows=True, works=True):
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.data = mujoco.MjData(self.model)
        self.camera, self.shows, self.works, self.render_mode = camera, shows, works, render_mode
        self.action_space, self.observation_space = Box(-1, 1, (1,), np.float32), Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[0] = self.np_random.uniform(-0.3, 0.3)
        mujoco.mj_forward(self.model, self.data)
        return 0, {}

    def step(self, action):
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 20)
        return 0, 0.0, False, False, {"is_success": False}

    def render(self):
        if not self.works:
            raise RuntimeError("no window")
        renderer, option = mujoco.Renderer(self.model, 32, 32), mujoco.MjvOption()
        option.geomgroup[3] = self.shows
        renderer.update_scene(self.data, self.camera, option)
        picture = renderer.render()
        renderer.close()
        return picture


gym.register("HandEyeTest/Drawn-v0", entry_point=Drawn, max_episode_steps=5, disable_env_checker=True)


def mujoco_task(camera="", **kwargs):
    spec = EnvSpec("HandEyeTest/Drawn-v0", kwargs, SuccessRule("is_success", 1), 32, (camera,))
    return Task("drawn", "declared", "practice", spec, language=FixedInstruction("go"))


def first_picture(chosen):
    env = chosen.make()
    env.reset(seed=0)
    picture = env.render().astype(int)
    env.close()
    return picture


def green(picture):
    return ((picture[..., 1] > 60) & (picture[..., 0] < 60)).any()


def test_mujoco_is_drawn_through_the_environments_own_camera_and_groups():
    own = first_picture(mujoco_task())
    assert green(own)
    np.testing.assert_array_equal(own, first_picture(mujoco_task("top")))
    assert not green(first_picture(mujoco_task(shows=False)))


def test_an_environment_whose_own_renderer_fails_is_drawn_by_mujocos_camera():
    picture = first_picture(mujoco_task(works=False))
    assert picture.std() > 1
    assert not green(picture)


class Whispering(Drawn):
    """Its instruction is told by the reset alone."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed, options=options)
        return observation, {"goal": f"goal {self.np_random.integers(1000)}"}


gym.register("HandEyeTest/Whispering-v0", entry_point=Whispering, max_episode_steps=5, disable_env_checker=True)


def test_a_restored_state_has_its_own_instruction():
    spec = EnvSpec("HandEyeTest/Whispering-v0", {}, SuccessRule("is_success", 1), 32, ("top",), held=("info.goal",))
    chosen = Task("told", "tests", "practice", spec, language=EnvInstruction("info.goal"))
    env, other = chosen.make(), chosen.make()
    env.reset(seed=0)
    env.step(np.float32([0.5]))
    snapshot, seen = env.snapshot(), chosen.observe(env)
    assert snapshot.physics is not None
    other.reset(seed=1)
    assert chosen.observe(other).instruction != seen.instruction
    other.restore(snapshot)
    assert chosen.observe(other).instruction == seen.instruction
    assert other.fingerprint() == env.fingerprint()


def test_a_camera_that_sees_nothing_is_refused_with_those_of_the_model():
    with pytest.raises(UserError, match=r"show nothing.*valid: another `camera` \(top, away\), or a free one"):
        first_picture(mujoco_task("away"))
