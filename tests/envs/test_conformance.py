"""The conformance suite that every task beside the tabletop's passes."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from agent.collect.rollout import rollout
from envs.errors import UserError
from envs.registry import TASKS, tagged, task
from envs.validation import read
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy, with_expert

# One task of each suite of LIBERO: all of its 130 share their adapter.
LIBERO = ("libero-spatial-0", "libero-object-0", "libero-goal-0", "libero-10-0", "libero-90-0")
OTHERS = [task for task in TASKS.values() if task.suite != "tabletop" and task.is_installed()]
CHOSEN = [task for task in OTHERS if task.suite != "libero" or task.name in LIBERO]
DECLARATIONS = Path(__file__).parents[2] / "configs" / "tasks"
QUICK = 40  # steps
ONE_START = ("cliff-walking",)
# Random actions do it now and then.
EASY = ("mw-button-press-wall", "mw-drawer-close", "frozen-lake-anywhere", "sokoban", "sokoban-short")
STARTS = dict.fromkeys(("cartpole", "inverted-pendulum", "lunar-lander", "mountain-car", "acrobot", "pendulum"), 4)
STARTS["hopper"] = 1  # its expert looks ahead for a minute or more


# One task of each kind of simulator and action is left to the fast tests; what the others do takes minutes.
FAST = ("cartpole", "frozen-lake", "sokoban", "lunar-lander", "reacher", "half-cheetah", "fetch-reach", "point-maze")
FAST += ("mw-push",)


@pytest.fixture(
    scope="module",  # the tests of a task follow each other, and share its environment and its GL context
    params=[pytest.param(task, marks=() if task.name in FAST else pytest.mark.slow, id=task.name) for task in CHOSEN],
)
def chosen(request):
    return request.param


@pytest.fixture(scope="module")
def env(chosen):
    env = chosen.make()
    yield env
    env.close()


def played(task, env, seed, n=QUICK):
    """Frames, rewards and ends of up to `n` random steps; the actions depend on the seed too."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    frames, rewards, over = [task.observe(env).frames], [], False
    while len(rewards) < n and not over:
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        over = terminated or truncated
        frames.append(task.observe(env).frames)
        rewards.append(reward)
    return np.array(frames), np.array(rewards), over


def test_the_same_seed_and_actions_give_the_same_trajectory(chosen, env):
    """An episode that was played before does not matter."""
    once = played(chosen, env, 3)
    played(chosen, env, 4)
    for a, b in zip(once, played(chosen, env, 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_beginning_is_one_state(chosen, env):
    """Certificates compare fingerprints, so a reset must not depend on the episode before."""
    env.reset(seed=3)
    first = env.fingerprint()
    played(chosen, env, 4)
    env.reset(seed=3)
    assert env.fingerprint() == first


def test_starts_differ(chosen, env):
    starts = set()
    for seed in range(4):
        env.reset(seed=seed)
        starts.add((repr(env.observation), chosen.observe(env).frames.tobytes()))
    assert (len(starts) == 1) == (chosen.name in ONE_START)


def test_frames_are_pictures(chosen, env):
    """One size, fresh arrays, not blank, and different after some steps."""
    (frames, _, _), spec = played(chosen, env, 1), chosen.env
    assert frames.shape[1:] == (spec.frames * len(spec.cameras), spec.image_size, spec.image_size, 3)
    assert frames.dtype == np.uint8
    assert frames[0].std() > 3
    assert (frames[0] != frames[-1]).any()
    first, second = chosen.observe(env).frames, chosen.observe(env).frames
    second[:] = 0
    assert first.any()


def test_a_history_is_of_the_last_frames(chosen, env):
    frames, _, _ = played(chosen, env, 1, 5)
    n = len(chosen.env.cameras)
    for before, after in pairwise(frames):
        np.testing.assert_array_equal(before[n:], after[:-n])
    np.testing.assert_array_equal(frames[0], np.concatenate([frames[0][:n]] * chosen.env.frames))


def test_a_state_is_returned_to(chosen, env):
    played(chosen, env, 5, 3)
    snapshot, fingerprint, seen = env.snapshot(), env.fingerprint(), chosen.observe(env)
    action = env.action_space.sample()
    after = env.step(action)
    env.restore(snapshot)
    assert env.fingerprint() == fingerprint
    np.testing.assert_array_equal(chosen.observe(env).frames, seen.frames)
    again = env.step(action)
    np.testing.assert_equal(again, after)


def test_what_is_seen_is_told_in_the_words_of_a_thought(chosen, env):
    language, teacher = chosen.language, chosen.teacher
    if teacher.thought is None:
        pytest.skip("its state has no words")
    known = {word for entry in language.words for word in entry.split()}
    for seed in range(3):
        played(chosen, env, seed, 3 * seed)
        thought = teacher.thought(env)
        assert language.say(language.parse(thought)) == thought
        assert re.fullmatch(language.thought_regex, thought)
        spoken = f"{language.instruction(env)} {language.proprioception(env)} {thought}"
        assert set(re.findall(r"[+-]?\w+", spoken)) <= {w for word in known for w in re.findall(r"[+-]?\w+", word)}
        caption, *single = teacher.captions.ask(env, np.random.default_rng(seed), 2, False)
        assert (caption[0].split(".")[0], caption[1]) == ("describe", thought)
        assert len(single) == min(2, len(thought.split("; ")))
        assert all(part in thought.split("; ") for _, part in single)
        if teacher.expert:
            assert teacher.expert(env)[0] == thought


def test_random_actions_do_not_succeed(chosen):
    starts = [(seed, 0) for seed in range(30 if chosen.name.startswith(("frozen", "sokoban", "reach")) else 3)]
    episodes = rollout(chosen.with_env(image_size=8, frames=1), RandomPolicy(codec_for(chosen).action.space), starts)
    assert {e.ending for e in episodes} <= {"terminated", "truncated"}
    assert np.mean([e.success for e in episodes]) < (0.7 if chosen.name in EASY else 0.2)


@pytest.mark.slow
def test_its_expert_succeeds(chosen):
    """Meta-World's own experts fail on some starts: they succeed on at least 75 % of 20, through the codec."""
    starts = [(seed, 0) for seed in range(STARTS.get(chosen.name, 8))]
    codec, chosen = codec_for(chosen), with_expert(chosen.with_env(image_size=8, frames=1))
    if chosen.teacher.expert is None:
        pytest.skip(f"{chosen.name} has no expert that plays")
    episodes = rollout(chosen, ExpertPolicy(chosen, codec), starts)
    enough = 0.6 if chosen.suite == "metaworld" else 0.75
    assert np.mean([e.success for e in episodes]) >= enough, [e.error or e.ending for e in episodes]
    for step in episodes[0].steps[:3]:
        np.testing.assert_array_equal(codec.decode(step.decision.answer)[1], step.decision.action)


def test_published_splits_are_tags():
    assert len(tagged("metaworld")) == 50
    sizes = {tag: len(tagged(tag)) for tag in ("ml10-train", "ml10-test", "ml45-train", "ml45-test")}
    assert sizes == {"ml10-train": 10, "ml10-test": 5, "ml45-train": 45, "ml45-test": 5}
    assert all(TASKS[name].split == "heldout" for name in tagged("ml45-test"))


@pytest.mark.skipif(not TASKS["mw-push"].is_installed(), reason="needs the extra metaworld")
def test_published_splits_are_metaworlds_own():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ML10_V3, ML45_V3

    assert sorted(tagged("metaworld")) == sorted(f"mw-{name.removesuffix('-v3')}" for name in ALL_V3_ENVIRONMENTS)
    for tag, split in (("ml10", ML10_V3), ("ml45", ML45_V3)):
        for side in ("train", "test"):
            names = [f"mw-{name.removesuffix('-v3')}" for name in split[side]]
            assert sorted(tagged(f"{tag}-{side}")) == sorted(names)


def test_a_task_whose_package_is_missing_names_the_extra():
    missing = TASKS["fetch-reach"].with_env(id="no_such_module:FetchReach-v4")
    with pytest.raises(
        UserError, match=r"needs no_such_module; valid once it is installed: pip install 'handeye\[robotics\]'"
    ):
        missing.make()


def test_no_lake_is_both_practised_and_held_out():
    maps = {}
    for name in ("frozen-lake", "frozen-lake-heldout"):
        env = TASKS[name].make()
        maps[name] = set()
        for seed in range(60):
            env.reset(seed=seed)
            maps[name].add(env.unwrapped.desc.tobytes())
        env.close()
    assert min(map(len, maps.values())) > 20
    assert not maps["frozen-lake"] & maps["frozen-lake-heldout"]


def test_a_task_without_an_expert_says_so():
    chosen = with_expert(task(str(DECLARATIONS / "mountain_car_continuous.yaml")))
    with pytest.raises(UserError, match=r"mountain_car_continuous\.yaml' has no expert; valid: zero, random"):
        ExpertPolicy(chosen, codec_for(chosen))


def test_the_declared_tasks_that_ship_conform():
    """Questions are left out: their folder is written by `handeye questions` first."""
    for path in sorted(DECLARATIONS.glob("*.yaml")):
        if "questions" in read(path) or path.name.endswith(".sees.yaml"):  # ranges beside a task's file
            continue
        chosen = task(str(path))
        env, spec = chosen.make(), chosen.env
        frames, _, _ = played(chosen, env, 1)
        env.close()
        assert frames.shape[1:] == (spec.frames * len(spec.cameras), spec.image_size, spec.image_size, 3)
