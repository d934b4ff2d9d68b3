"""Lift and place: success, grasping by friction, and actions that follow from the words of a thought."""

import re

import numpy as np
import pytest

from agent.measure.bench import replays
from envs.registry import TASKS, vocabulary
from envs.suites.tabletop import lift, place
from envs.suites.tabletop.grasp import LOW
from envs.suites.tabletop.language.base import FINGERS, HEIGHTS, PHASES
from envs.suites.tabletop.language.grasping import PHASE_ACTIONS, Hand
from envs.suites.tabletop.scene import OBJECT_HEIGHT, OPEN, SHAPES, GraspScene, Scene, mujoco
from envs.suites.tabletop.teacher import expert
from envs.suites.tabletop.words import BIN_WIDTH
from policies.action_codec import codec_for

DOWN, CLOSE, UP, RELEASE = (np.array(PHASE_ACTIONS[phase], np.float32) for phase in PHASES)


@pytest.fixture(params=["lift", "place"])
def chosen(request):
    return TASKS[request.param]


def until(env, task, phase):
    """Steps with the expert until its next thought ends with `phase`; returns that thought, its step not taken."""
    while not (thought := task.teacher.expert(env)[0]).endswith(f"; {phase}"):
        assert not env.step(task.teacher.expert(env)[1])[2]
    return thought


def test_the_pusher_is_as_it_was():
    model = Scene().model
    bodies = [model.body(i).name for i in range(model.nbody)]
    assert bodies == ["world", "gripper", "pad0", "pad1", "object0", "object1", "object2"]
    assert (model.nq, model.nv, model.nu, model.ngeom, model.nlight, model.ntex) == (24, 21, 3, 20, 0, 0)
    assert model.actuator_gainprm[:, 0].tolist() == [400.0] * 3
    assert model.opt.timestep == 0.005


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("off", [(0.0, 0.0), (0.0075, 0.0075), (-0.0075, 0.0075), (0.0075, -0.0075)])
def test_every_shape_is_held_by_friction_alone(shape, off):
    """Grasped up to half a bin off its centre, lifted, and moved sideways."""
    scene, name = GraspScene(), f"red {shape}"
    assert scene.model.eq_type.tolist() == [mujoco.mjtEq.mjEQ_JOINT]  # of the fingers, and no weld
    scene.arrange(np.array(off), {name: np.zeros(2)}, {}, 0.06)
    for *way, height, opening in [
        (0, 0, 0, OPEN),
        (0, 0, 0, 0),
        (0, 0, 0.06, 0),
        (0.06, 0.06, 0.06, 0),
        (0, -0.06, 0.06, 0),
        (-0.06, 0.06, 0.06, 0),
    ]:
        scene.move(np.array([*np.add(off, way), height, opening, opening]), 40)
    assert scene.touching(name) == 2
    assert scene.height(name) > lift.LIFTED
    assert np.linalg.norm(scene.places()[name] - scene.gripper) < 0.02
    scene.move(np.array([*scene.gripper, 0.06, OPEN, OPEN]), 80)  # and nothing else holds it
    assert scene.touching(name) == 0
    assert scene.height(name) < 0.001


def test_the_action_follows_from_words_that_the_grammar_allows(chosen, env):
    """At every step: the thought is in the grammar, and thought and proprioception determine the action."""
    known, codec = {word for entry in vocabulary() for word in entry.split()}, codec_for(chosen)
    for seed in range(8):
        env.reset(seed=seed)
        ended = False
        while not ended:
            thought, action = chosen.teacher.expert(env)
            assert re.fullmatch(chosen.language.thought_regex, thought)
            assert re.fullmatch(chosen.language.ending_regex, chosen.teacher.endings.conclude(env))
            assert set(f"{thought} {chosen.language.proprioception(env)}".replace(";", "").split()) <= known
            np.testing.assert_array_equal(
                chosen.language.called_for(thought, chosen.language.proprioception(env)), action
            )
            decoded = codec.decode(codec.encode(thought, action))[1]
            np.testing.assert_allclose(decoded, action, atol=1e-6)
            *_, terminated, truncated, _ = env.step(decoded)
            ended = terminated or truncated
        assert terminated


def test_the_expert_stands_places_that_are_a_bin_off(chosen, env):
    """The error is drawn anew at every step, as a small model's errors are."""
    for seed in range(20):
        env.reset(seed=seed)
        inner, rng, ended = env.unwrapped, np.random.default_rng(seed), False
        while not ended:
            seen = {name: place + rng.integers(-1, 2, 2) * BIN_WIDTH for name, place in inner.scene.places().items()}
            *_, terminated, truncated, _ = env.step(expert(env, seen)[1])
            ended = terminated or truncated
        assert terminated


def test_the_hand_is_parsed_from_words(env):
    env.reset(seed=0, options={"clutter": False})  # nothing is under the fingers
    heights, fingers = set(), set()
    for action in (CLOSE, DOWN, UP * 0.5, UP, RELEASE, DOWN, DOWN):
        hand = Hand.parse(TASKS["lift"].language.proprioception(env))
        heights.add(hand.height), fingers.add(hand.fingers)
        env.step(action)
    assert heights == set(HEIGHTS)
    assert fingers == set(FINGERS) - {"holding"}
    assert env.unwrapped.scene.raised < LOW


def test_fingers_stay_as_they_are_told():
    env = TASKS["lift"].make()
    env.reset(seed=0)
    for action, closing in ((CLOSE, True), (UP * 0, True), (RELEASE * 0.1, False), (DOWN, False)):
        env.step(action)
        assert env.unwrapped.scene.is_closing == closing
    env.close()


def test_only_what_is_held_high_is_lifted():
    task = TASKS["lift"]
    env = task.make()
    env.reset(seed=1)
    inner = env.unwrapped
    until(env, task, "up")
    assert not inner.success()  # held, on the table
    assert not env.step(UP * 0.5)[2]
    assert inner.scene.height(inner.goal) > 0.02  # held, not high enough
    assert env.step(UP)[2]
    data = inner.data
    slot = inner.scene.objects.index(inner.goal)
    data.joint(f"object{slot}").qpos[0] += 0.1  # high, not held
    mujoco.mj_forward(inner.model, data)
    assert inner.scene.height(inner.goal) > lift.LIFTED
    assert not inner.success()
    env.close()


def test_another_object_does_not_count():
    for name in ("lift", "place"):
        env = TASKS[name].make()
        env.reset(seed=2)
        inner = env.unwrapped
        goal, other = inner.goal, next(n for n in inner.scene.objects if n != inner.goal)
        for _ in range(env.spec.max_episode_steps):
            inner.goal = other
            done, action = inner.success(), expert(env)[1]
            inner.goal = goal
            if done:
                break
            assert not env.step(action)[2]
        assert done
        env.close()


def test_only_what_is_let_go_of_on_the_pad_is_placed():
    task = TASKS["place"]
    env = task.make()
    env.reset(seed=1)
    inner = env.unwrapped
    until(env, task, "open")

    def on_pad():
        places = inner.scene.places()
        return np.linalg.norm(places[inner.goal] - places[inner.goal_pad]) < place.SUCCESS_RADIUS

    assert on_pad()
    assert abs(inner.scene.height(inner.goal)) < place.LYING
    assert not inner.success()  # it lies there, in the fingers
    env.step(UP)
    assert on_pad()
    assert not inner.success()  # over the pad
    env.step(DOWN)
    assert env.step(RELEASE)[2]
    env.close()


def test_an_object_lies_on_the_table_not_on_another():
    scene = GraspScene()
    scene.arrange(np.array([0.1, 0.1]), {"red cube": np.zeros(2), "blue cube": np.array([0.1, 0.0])}, {}, 0.06)
    joint = scene.data.joint("object1")
    joint.qpos[:3] = 0.0, 0.0, OBJECT_HEIGHT * 1.5
    mujoco.mj_forward(scene.model, scene.data)
    assert scene.height("blue cube") == pytest.approx(OBJECT_HEIGHT)
    assert scene.height("red cube") == pytest.approx(0.0)


def test_an_expert_that_takes_the_pad_to_lie_elsewhere_puts_the_object_there():
    task = TASKS["place"]
    env = task.make()
    env.reset(seed=3)
    inner, ended, elsewhere = env.unwrapped, False, np.array([0.0, 0.0])
    while not ended:
        *_, terminated, truncated, _ = env.step(expert(env, {inner.goal_pad: elsewhere})[1])
        ended = terminated or truncated
    assert not terminated
    assert np.linalg.norm(inner.scene.places()[inner.goal] - elsewhere) < place.SUCCESS_RADIUS
    env.close()


def test_an_expert_regrasps_what_it_let_go_of(chosen, env):
    for seed in range(5):
        env.reset(seed=seed)
        until(env, chosen, "up")
        env.step(UP)
        env.step(RELEASE)
        ended = False
        while not ended:
            *_, terminated, truncated, _ = env.step(chosen.teacher.expert(env)[1])
            ended = terminated or truncated
        assert terminated or chosen.name == "lift"  # which ended with the object up


def test_what_follows_a_restored_state_is_the_same(chosen):
    assert replays(chosen.name, 10) == 10


def test_a_grasp_is_restored(chosen, env):
    env.reset(seed=4)
    until(env, chosen, "up")
    saved = env.snapshot()
    env.step(UP)
    once = env.fingerprint(), env.observation
    env.reset(seed=5)
    env.restore(saved)
    env.step(UP)
    assert env.fingerprint() == once[0]
    np.testing.assert_array_equal(env.observation, once[1])
