"""Demonstrations in HDF5, in the layout of robomimic and LIBERO: drawn in their states, or their own pictures."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest

from agent.optimise.recorded import check_recorded, recorded_examples
from envs import registry
from envs.errors import UserError

REACHER = """id: Reacher-v5
instruction: reach the target
success: {of: reward_dist, at_least: -0.01}
image_size: 48
expert: {demonstrations: 'hdf5:demo.hdf5'}
"""
FPS = 50  # of Reacher
T = 5
SEES = "sees: {target: [{of: body.target.x, low: -0.3, high: 0.3}, {of: body.target.y, low: -0.3, high: 0.3}]}\n"


def flat(data):
    return np.concatenate([[data.time], data.qpos, data.qvel])


def episode(succeeds):
    """T actions of Reacher and the state before each. The target lies at the fingertip in the last, or far from it."""
    env = gym.make("Reacher-v5")
    env.reset(seed=1)
    env.action_space.seed(1)
    states, actions = [], []
    for i in range(T):
        data = env.unwrapped.data
        if i == T - 1:
            data.qpos[2:] = data.body("fingertip").xpos[:2] if succeeds else (0.2, -0.2)
            data.qvel[:] = 0
        states.append(flat(data))
        actions.append(env.action_space.sample() * (i < T - 1))
        env.step(actions[-1])
    env.close()
    return np.stack(states), np.stack(actions)


@pytest.fixture
def demo(tmp_path):
    """Writes the file: an episode for each truth value of `ends`, success or not. left_out: datasets that it lacks."""
    h5py = pytest.importorskip("h5py", reason="h5py is an extra: pip install 'handeye[hdf5]'")

    def write(ends=(True,), left_out=(), attributes=None, **changes):
        kwargs = {"env_kwargs": {"control_freq": FPS}}
        told = {"env_args": json.dumps(kwargs), "problem_info": json.dumps({"language_instruction": ["touch it"]})}
        with h5py.File(tmp_path / "demo.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs.update(told | (attributes or {}))
            for number, ending in enumerate(ends):
                states, actions = episode(ending)
                ramp = np.linspace(0, 250, 32).astype(np.uint8)[None, :, None, None]
                views = {"agentview_rgb": ramp, "eye_in_hand_rgb": 255 - ramp}
                shown = {f"obs/{key}": np.broadcast_to(one, (T, 32, 32, 3)) for key, one in views.items()}
                held = {"actions": actions, "states": states, "rewards": np.eye(T)[-1]} | shown | changes
                for key in held.keys() - set(left_out):
                    data[f"demo_{number}/{key}"] = held[key]

    return write


def rows(name, n=10):
    return list(recorded_examples(registry.task(name), n))


def test_states_are_drawn_by_our_renderer(declare, demo, capsys):
    demo(ends=(True, False, True))
    name = declare(REACHER + SEES + "frames: 2\n")
    examples = rows(name)
    assert len(examples) == 2 * T
    assert "2 of 3 demonstrations in hdf5:demo.hdf5 give rows" in capsys.readouterr().out
    (states, _), task = episode(True), registry.task(name).with_env(frames=1)
    env = task.make()
    env.reset(seed=0)
    inner = env.unwrapped
    inner.set_state(states[-1][1:5], states[-1][5:])
    last = examples[T - 1]
    assert np.array_equal(last.frames[-1], task.observe(env).frames[0])
    assert np.array_equal(last.frames[0], examples[T - 2].frames[-1])
    assert last.answer == f"{task.teacher.thought(env)}; move +0 +0"
    env.close()


@pytest.mark.parametrize("flipped", [False, True])
def test_without_states_the_pictures_are_the_recorded_ones(declare, demo, flipped):
    demo(left_out=("states",), attributes={"macros_image_convention": "opengl"} if flipped else {})
    examples = rows(declare(REACHER))
    assert len(examples) == T
    column = examples[0].frames[0][:, 24, 0].astype(int)
    assert (np.diff(column if not flipped else column[::-1]) >= 0).all()
    assert np.ptp(column) > 200
    assert "touch it" in str(examples[0].prompt)


CHEETAH = """id: HalfCheetah-v5
instruction: run
success: {of: x_velocity, at_least: 1}
cameras: [track]
expert: {demonstrations: 'hdf5:demo.hdf5'}
"""


def test_pictures_have_the_name_of_their_camera(declare, demo):
    ramp = np.broadcast_to(np.linspace(0, 250, 32).astype(np.uint8)[None, :, None, None], (T, 32, 32, 3))
    other = {"left_out": ("states",), "actions": np.zeros((T, 6)), "attributes": {"env_args": "{}"}}
    task = registry.task(declare(CHEETAH))
    demo(**other, **{"obs/track_image": ramp})  # after agentview and eye_in_hand
    assert next(iter(recorded_examples(task, 1))).frames[0][0, 32, 0] < 50
    demo(**other, **{"obs/track_image": 255 - ramp})
    assert next(iter(recorded_examples(task, 1))).frames[0][0, 32, 0] > 200
    demo(**other)
    with pytest.raises(UserError, match=r"no pictures of camera 'track'; valid: agentview, eye_in_hand"):
        list(recorded_examples(task, 1))


def test_states_of_another_model_leave_the_pictures(declare, demo, capsys):
    demo(states=np.zeros((T, 4)))
    assert len(rows(declare(REACHER))) == T
    said = capsys.readouterr().out
    assert "taken as they are, since its states are 5 x 4 numbers, and those of 'Reacher-v5' 9" in said


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({"actions": np.zeros((T, 3))}, "", r"demo_0 of 'hdf5:demo.hdf5' has an action .*; valid for .* of Box"),
        ({"actions": np.full((T, 2), 1.2)}, "", r"has an action with 1\.2 in place 0; valid .*: -1 to 1"),
        ({"actions": np.zeros((T + 1, 2))}, "", r"demo_0 of .* has 6 actions and 5 states; valid: as many"),
        ({"left_out": ("actions",)}, "", r"demo_0 of 'hdf5:demo.hdf5' has no actions; it has"),
        ({"attributes": {"env_args": '{"env_kwargs": {"control_freq": 20}}'}}, "", "20 actions a second, where .* 50"),
        ({}, "repeat: 2\n", r"records every step, and .* repeat = 2; valid: repeat: 1"),
        ({"ends": ()}, "", r"has no data/demo_0, but nothing; valid: the layout of robomimic"),
        ({"attributes": {"env_args": "{"}}, "", r"'hdf5:demo.hdf5' cannot be read: JSONDecodeError"),
        (
            {"states": np.zeros((T, 4)), "left_out": ("obs/agentview_rgb", "obs/eye_in_hand_rgb")},
            "",
            r"demo_0 of 'hdf5:demo.hdf5' has no pictures, and its states are 5 x 4 numbers",
        ),
        ({"left_out": ("states",)}, SEES, r"which its pictures do not tell; valid: thinks: false, or a recording"),
    ],
)
def test_what_cannot_be_used_is_named(declare, demo, changes, more, message):
    demo(**changes)
    with pytest.raises(UserError, match=message):
        check_recorded(registry.task(declare(REACHER + more)))


def test_words_that_a_state_does_not_tell_are_named(declare, demo):
    demo(left_out=("obs/agentview_rgb", "obs/eye_in_hand_rgb"))
    name = declare(REACHER + "sees: {way: [{of: observation.8, low: -0.3, high: 0.3}]}\n")
    with pytest.raises(UserError, match=r"do not tell observation\.8, with which an answer begins"):
        check_recorded(registry.task(name))


def test_what_is_no_file_is_named(declare, tmp_path):
    task = registry.task(declare(REACHER))
    with pytest.raises(UserError, match=r"no demonstrations in 'hdf5:demo\.hdf5'; valid: a file"):
        check_recorded(task)
    (tmp_path / "demo.hdf5").write_text("text")
    pytest.importorskip("h5py", reason="h5py is an extra: pip install 'handeye[hdf5]'")
    with pytest.raises(UserError, match=r"'hdf5:demo\.hdf5' cannot be read: OSError"):
        check_recorded(task)


def test_h5py_is_an_extra(declare, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "demo.hdf5").touch()
    with pytest.raises(UserError, match=r"'hdf5:demo\.hdf5' needs h5py; valid once it is installed: pip install 'han"):
        check_recorded(registry.task(declare(REACHER)))
