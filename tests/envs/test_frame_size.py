"""Frames of another size are rendered, not resized; nothing else of a task changes with them. Several cameras."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from envs.errors import UserError
from envs.registry import TASKS, task
from envs.starts import start_key
from envs.suites.questions.scenes import write
from envs.suites.questions.tasks import question_task
from policies.action_codec import codec_for

DECLARED = Path(__file__).parents[2] / "configs" / "tasks" / "mountain_car_continuous.yaml"
# One of each suite, and of each way to draw: our own scenes, other MuJoCo models, pygame.
CHOSEN = [TASKS[name] for name in ("push", "lift", "frozen-lake", "reacher", "fetch-reach", "mw-push")]
CHOSEN = [one for one in CHOSEN if one.is_installed()] + [task(str(DECLARED))]
INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


@pytest.fixture(params=CHOSEN, ids=lambda one: Path(one.name).stem)
def chosen(request):
    return request.param


def played(chosen, steps=3):
    """Observations, rewards, fingerprints and the key of the start of some random steps."""
    env = chosen.make()
    env.reset(seed=3)
    env.action_space.seed(3)
    observations, rewards, prints, key = [chosen.observe(env)], [], [env.fingerprint()], start_key(chosen, env)
    for _ in range(steps):
        rewards.append(env.step(env.action_space.sample())[1])
        observations.append(chosen.observe(env))
        prints.append(env.fingerprint())
    np.testing.assert_array_equal(env.render(), observations[-1].frames[-1])
    env.close()
    return observations, rewards, prints, key


def test_a_larger_frame_shows_more(chosen):
    """It differs from every enlargement of the small frame by more than the small frame differs from it scaled down."""
    small, large = (played(chosen.sized(size), 0)[0][0].frames for size in (64, 128))
    assert large.shape == (*small.shape[:1], 128, 128, 3)
    gained = lost = 0.0
    for a, b in zip(small.astype(np.float32), large.astype(np.float32), strict=True):
        gained += min(np.abs(cv2.resize(a, (128, 128), interpolation=i) - b).mean() for i in INTERPOLATIONS)
        lost += np.abs(cv2.resize(b, (64, 64), interpolation=cv2.INTER_AREA) - a).mean()
    assert 0.4 * len(large) < gained
    assert lost < min(gained, 5.0 * len(large))


def test_nothing_but_the_frames_depends_on_their_size(chosen):
    observations, *others = played(chosen)
    same, *others_of_it = played(chosen.sized(96))
    assert others == others_of_it
    for own, other in zip(observations, same, strict=True):
        assert other.frames.shape == (*own.frames.shape[:1], 96, 96, 3)
        assert (own.instruction, own.proprioception) == (other.instruction, other.proprioception)
    assert codec_for(chosen.sized(96)) is codec_for(chosen)


def test_the_own_size_gives_the_same_bytes(chosen):
    assert chosen.sized(None) is chosen.sized(chosen.env.image_size) is chosen
    back = chosen.sized(96).sized(chosen.env.image_size)
    assert back == chosen
    for own, other in zip(played(chosen)[0], played(back)[0], strict=True):
        assert own.key() == other.key()


def test_the_tabletop_is_drawn_as_the_environment_itself_draws_it():
    env = TASKS["push"].make()
    env.reset(seed=0)
    assert TASKS["push"].observe(env).frames.tobytes() == env.unwrapped.render().tobytes()
    env.close()


def test_a_state_is_returned_to_with_larger_frames(chosen):
    large = chosen.sized(96)
    env = large.make()
    env.reset(seed=3)
    env.step(env.action_space.sample())
    snapshot, seen = env.snapshot(), large.observe(env)
    env.step(env.action_space.sample())
    env.restore(snapshot)
    assert large.observe(env).key() == seen.key()
    env.close()


@pytest.mark.parametrize("size", [0, 7, 2049, -1])
def test_an_impossible_size_is_named(size):
    with pytest.raises(UserError, match=rf"image_size {size}; valid: 8 to 2048"):
        task("reach", size)


def test_questions_have_pictures_of_their_own_size_and_are_seen_at_another(tmp_path):
    write(tmp_path / "small", {"train": 5, "val": 5, "test": 5}, seed=0)
    write(tmp_path / "large", {"train": 5, "val": 5, "test": 5}, seed=0, image_size=128)
    small, large = (
        question_task(f"{kind}.yaml", str(tmp_path / kind / "choices"), "choices") for kind in ("small", "large")
    )
    own, seen, sharp = (played(one, 0)[0][0] for one in (small, small.sized(128), large.sized(128)))
    assert own.instruction == seen.instruction == sharp.instruction
    assert seen.frames.shape == sharp.frames.shape == (1, 128, 128, 3)
    difference = np.abs(seen.frames.astype(int) - sharp.frames)
    assert 0 < difference.mean() < 5
    assert codec_for(small.sized(128)) is codec_for(small)


# cameras -----------------------------------------------------------------------------------------------------------
def test_several_cameras_are_images_in_their_order_the_oldest_moment_first():
    above, beside = "top", {"lookat": (0, 0, 0), "distance": 0.9, "azimuth": 90.0, "elevation": -20.0}
    both = TASKS["push"].with_env(cameras=(beside, above), frames=2).sized(96)
    single = [played(TASKS["push"].with_env(cameras=(camera,)).sized(96))[0] for camera in (beside, above)]
    observations = played(both)[0]
    for moment, (before, now) in enumerate(pairwise(observations)):
        for i, alone in enumerate(single):
            np.testing.assert_array_equal(now.frames[i], alone[moment].frames[0])
            np.testing.assert_array_equal(now.frames[2 + i], alone[moment + 1].frames[0])
        np.testing.assert_array_equal(now.frames[:2], before.frames[2:])
    assert observations[0].frames.shape == (4, 96, 96, 3)
    np.testing.assert_array_equal(observations[0].frames[:2], observations[0].frames[2:])


@pytest.mark.parametrize(
    ("name", "camera", "message"),
    [
        ("push", "tpo", "unknown camera 'tpo'; valid: top, side"),
        ("push", {"distanse": 1.0}, r"unknown field of a free camera 'distanse' \(did you mean 'distance'\?\)"),
        ("half-cheetah", "trak", "unknown camera 'trak'; valid: track"),
        ("frozen-lake", "top", "camera 'top' of an environment without MuJoCo; valid: none"),
    ],
)
def test_an_unknown_camera_is_named(name, camera, message):
    with pytest.raises(UserError, match=message):
        TASKS[name].with_env(cameras=("", camera)).make()


def test_a_file_declares_several_cameras(tmp_path):
    path, text = tmp_path / "run.yaml", "id: HalfCheetah-v5\ninstruction: run\nsuccess: {of: return, at_least: 4800}\n"
    path.write_text(text + "cameras: [track, {distance: 6.0}]\nframes: 2\nimage_size: 80\n")
    observations = played(task(str(path)))[0]
    assert {o.frames.shape for o in observations} == {(4, 80, 80, 3)}
    one, other = observations[-1].frames[2:]
    assert (one != other).any()
    one_camera = tmp_path / "one.yaml"
    one_camera.write_text(text + "camera: track\nimage_size: 80\n")
    np.testing.assert_array_equal(played(task(str(one_camera)))[0][-1].frames[0], one)
    none = tmp_path / "none.yaml"
    none.write_text(text + "cameras: []\n")
    with pytest.raises(UserError, match=r"config key 'cameras' = .*at least 1 item"):
        task(str(none))
