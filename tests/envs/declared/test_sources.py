"""State words from YAML: each kind of source is read, at a start, after a step and after a restore."""

from pathlib import Path

import numpy as np
import pytest

from envs.declared.numbers import parts_of
from envs.errors import UserError
from envs.language import StateLanguage
from envs.registry import task

EVERY = """sees:
  ball: [{of: observation.ball.0, whole: true, low: 0, high: 7}, {of: info.ball_x, whole: true, low: 0, high: 7}]
  speed: {of: observation.rest.0, high: 2.0, levels: 20}
  phase: {of: observation.rest.1, whole: true, low: 0, high: 2}
  mark: [{of: info.score.marks.0, values: [0, 0.5]}, {of: info.score.marks.1, low: 0, high: 40, bins: 40}]
  far: {of: distance(), whole: true, low: 0, high: 7}
  goal:
  - {of: unwrapped.goal.where.0, whole: true, low: 0, high: 9}
  - {of: "goal['where'][1]", low: 0, high: 10, bins: 10}
"""


def true_words(inner):
    (x, _), t = inner.ball, inner.t
    return {
        "ball": f"ball {x} {x}",
        "speed": f"speed {int(np.clip(np.rint(inner.speed * 10), -20, 20)):+d}",
        "phase": f"phase {t % 3}",
        "mark": f"mark {t % 2} {t}",
        "far": f"far {7 - x}",
        "goal": "goal 7 2",
    }


def test_numbers_of_observation_info_and_attributes_are_told(declare):
    chosen = task(declare(EVERY))
    env = chosen.make()
    for seed in range(3):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(6):
            words = true_words(env.unwrapped)
            assert chosen.teacher.thought(env) == "; ".join(words.values())
            (asked, caption), *questions = chosen.teacher.captions.ask(env, np.random.default_rng(0), 9, False)
            assert (asked, caption) == ("describe", "; ".join(words.values()))
            assert dict(questions) == {f"where is the {name}": text for name, text in words.items()}
            env.step(env.action_space.sample())


def test_a_restored_state_has_its_words(declare):
    """Also in an environment that never was there, and what `info` told."""
    chosen = task(declare(EVERY))
    env, other = chosen.make(), chosen.make()
    env.reset(seed=3)
    for action in (0, 2, 0):
        env.step(action)
    saved, words = env.snapshot(), chosen.teacher.thought(env)
    for again in (env, other):
        env.step(3), env.reset(seed=4)
        again.restore(saved)
        assert chosen.teacher.thought(again) == words


def test_words_of_info_are_restored_where_physics_is(reacher):
    """Reacher's state is set, not played again: the numbers of info are saved with it."""
    chosen = task(reacher("sees: {far: {of: info.reward_dist, low: -0.4, high: 0, bins: 64, missing: 0}}\n"))
    env = chosen.make()
    env.reset(seed=0)
    assert chosen.teacher.thought(env) == "far 63"
    env.step(env.action_space.sample())
    saved, words = env.snapshot(), chosen.teacher.thought(env)
    assert saved.attributes is not None
    assert words != "far 63"
    env.reset(seed=1)
    env.restore(saved)
    assert chosen.teacher.thought(env) == words


def test_states_have_the_fingerprints_that_they_have_without_words(declare):
    plain, seeing = (task(declare(text)).make() for text in ("", EVERY))
    for env in (plain, seeing):
        env.reset(seed=5)
        env.step(1)
    assert plain.fingerprint() == seeing.fingerprint()
    assert plain.observation_key() == seeing.observation_key()


def test_bodies_sites_geoms_and_joints_are_told(reacher):
    text = """sees:
  tip: {body: fingertip, of: [x, y], low: -0.3, high: 0.3}
  dot: [geom.target.x, geom.target.y]
  arm: [{joint: joint0, angle: true}, {joint: joint1, of: qvel, high: 20, signed: true, unit: rad/s}]
"""
    text = text.replace("[geom.target.x, geom.target.y]", "{of: [geom.target.x, geom.target.y], low: -0.3, high: 0.3}")
    chosen = task(reacher(text))
    env = chosen.make()
    env.reset(seed=1)
    for _ in range(3):
        env.step(env.action_space.sample())
    data = env.unwrapped.data
    read = chosen.language.seen.read(env)
    np.testing.assert_array_equal(read["tip"], data.body("fingertip").xpos[:2])
    np.testing.assert_array_equal(read["dot"], data.geom("target").xpos[:2])
    np.testing.assert_allclose(read["arm"], [(data.qpos[0] + np.pi) % (2 * np.pi) - np.pi, data.qvel[1]])
    assert chosen.language.legend[2].endswith("joint joint1's speed (-16 to +16 in steps of 1.25 rad/s).")


@pytest.mark.parametrize("camera", ["", "camera: {lookat: [0.05, 0, 0], distance: 0.6, azimuth: 60, elevation: -70}\n"])
def test_a_place_in_the_picture_is_where_the_picture_shows_it(reacher, camera):
    """The red dot's pixels, in a picture of 256 px."""
    chosen = task(reacher("sees: {dot: {body: target, of: [column, row]}}\n", camera)).sized(256)
    env = chosen.make()
    for seed in range(3):
        env.reset(seed=seed)
        frame = chosen.observe(env).frames[-1].astype(int)
        rows, columns = np.nonzero(frame[..., 0] - frame[..., 1:].sum(axis=2) > 10)
        assert len(rows) > 8
        place = np.array(chosen.language.seen.read(env)["dot"])
        np.testing.assert_allclose(place * 256, [columns.mean() + 0.5, rows.mean() + 0.5], atol=1.5)


@pytest.mark.parametrize(
    ("sees", "message"),
    [
        (
            "observation.bal.0",
            "sees.ball.0: unknown part .*'observation.bal.0': 'bal' .did you mean 'ball'.*; valid: ball, rest",
        ),
        ("observation.ball.0, observation.ball.2", "sees.ball.1: .*no observation.ball.2; valid there: 0 to 1"),
        ("observation.ball", "observation.ball is 2 numbers or more; valid: one, as observation.ball.0"),
        ("observation", "sees.ball.0: observation has parts; valid: observation.ball, observation.rest"),
        ("info.ball_z", "sees.ball.0: unknown part .*'ball_z'.*; valid: ball_x, name, score, or missing: NUMBER"),
        ("info.name", "info.name is 'yard' .str.; valid: one number"),
        ("unwrapped.goal.here.0", "sees.ball.0: unknown part 'unwrapped.goal.here' .*; valid: where"),
        ("unwrapped.gaol.where.0", "unknown part 'unwrapped.gaol' .*'gaol' .did you mean 'goal'.*; valid: .*goal"),
        ("body.ball.x", "body.ball.x of an environment without MuJoCo; valid: paths, such as observation.0"),
    ],
)
def test_what_is_not_there_is_named(declare, sees, message):
    """By the task's file, the part and the place in it, before anything is played."""
    path = declare(f"sees: {{ball: {{of: [{sees}], low: 0, high: 9}}}}\n")
    with pytest.raises(UserError, match=message) as error:
        task(path).make()
    assert str(error.value).startswith(f"task {path!r}: ")


def test_a_key_of_info_that_a_reset_lacks_is_named(declare):
    text = "kwargs: {quiet: true}\nsees: {ball: {of: info.ball_x, low: 0, high: 7%s}}\n"
    with pytest.raises(UserError, match=r"'ball_x'; valid: none, there is nothing in it, or missing: NUMBER"):
        task(declare(text % "")).make()
    chosen = task(declare(text % ", whole: true, missing: 3"))
    env = chosen.make()
    env.reset(seed=0)
    assert chosen.teacher.thought(env) == "ball 3"
    env.step(0)
    assert chosen.teacher.thought(env) == f"ball {env.unwrapped.ball[0]}"


@pytest.mark.parametrize(
    ("sees", "message"),
    [
        ("{body: fingertop, of: x}", "unknown body 'fingertop'; valid: .*fingertip"),
        ("{site: tip, of: x}", "unknown site 'tip'; valid: none has a name"),
        ("{joint: joint7}", "unknown joint 'joint7'; valid: joint0, joint1, target_x, target_y"),
        ("{geom: target, of: column, camera: top}", "unknown camera 'top'; valid: none"),
        ("{of: observation.0}", ""),
    ],
)
def test_a_name_that_a_model_does_not_have_is_named(reacher, sees, message):
    path = reacher(f"sees: {{dot: {sees.replace('}', ', low: 0, high: 1}')}}}\n")
    if not message:
        task(path).make()
        return
    with pytest.raises(UserError, match=rf"sees\.dot\.0: {message}"):
        task(path).make()


def test_the_declared_task_that_ships_tells_its_state():
    chosen = task(str(Path(__file__).parents[3] / "configs" / "tasks" / "pendulum.yaml"))
    env = chosen.make()
    for seed in range(3):
        env.reset(seed=seed)
        for _ in range(20):
            env.step(env.action_space.sample())
        angle, speed = env.unwrapped.state
        bins = int((angle + np.pi) % (2 * np.pi) / (2 * np.pi) * 32)
        assert chosen.teacher.thought(env) == f"pole {bins} {int(np.clip(np.rint(2 * speed), -16, 16)):+d}"


def test_a_slice_is_several_numbers():
    for text in ("observation.rest.0:3", "observation.rest[0:3]"):
        numbers = parts_of({"arm": {"of": text, "low": 0, "high": 1}})["arm"]
        assert [str(number.source) for number in numbers] == [f"observation.rest.{i}" for i in range(3)]
    places = parts_of({"arm": [{"body": "robot0:grip.link"}]})["arm"]
    assert [str(number.source) for number in places] == [f"body.robot0:grip.link.{axis}" for axis in "xyz"]


def test_without_thoughts_there_are_captions_still(declare):
    chosen = task(declare(EVERY + "thinks: false\n"))
    assert isinstance(chosen.language, StateLanguage)
    assert chosen.language.thought_regex == ""
    assert chosen.teacher.thought is None
    env = chosen.make()
    env.reset(seed=0)
    assert len(list(chosen.teacher.captions.ask(env, np.random.default_rng(0), 2, False))) == 3
