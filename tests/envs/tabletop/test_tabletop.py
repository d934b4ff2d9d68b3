"""The conformance suite that every task of the tabletop passes, in its plain appearance."""

import re
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.errors import UserError
from envs.registry import TASKS, tagged, task, vocabulary
from envs.suites.tabletop import words
from envs.suites.tabletop.env import GOALS
from envs.suites.tabletop.scene import COLOURS, MARKS, OBJECTS, PADS, SHAPES
from envs.suites.tabletop.teacher import ask_for_another, expert

SEEDS = range(200)
PLAIN = [name for name in tagged("tabletop") if "appearance" not in TASKS[name].env.kwargs]
GOALS_OF = {name: TASKS[name].env.kwargs["goals"] for name in PLAIN}


@pytest.fixture(params=GOALS_OF)
def chosen(request):
    return TASKS[request.param]


def play(env, seed, actions):
    """States, rewards and frames of one episode."""
    states, frames = [env.reset(seed=seed)[0]], [env.render()]
    rewards = []
    for action in actions:
        state, reward, *_ = env.step(action)
        states.append(state)
        rewards.append(reward)
        frames.append(env.render())
    return np.array(states), np.array(rewards), np.array(frames)


def success_rate(task, act, seeds=SEEDS):
    """The share of seeds on which `act(env, rng)` succeeds within the horizon."""
    env, wins = task.make(), 0
    for seed in seeds:
        env.reset(seed=seed)
        rng, ended = np.random.default_rng([seed, 1]), False  # not the stream the layout was drawn from
        while not ended:
            _, _, terminated, truncated, info = env.step(act(env, rng))
            ended = terminated or truncated
        wins += info["success"]
    env.close()
    return wins / len(seeds)


def test_conforms_to_gymnasium(chosen):
    env = chosen.make().unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium advises against unbounded observations; they are metres
        check_env(env)
    env.close()


def test_same_seed_same_trajectory(chosen, env):
    actions = np.random.default_rng(0).uniform(-1, 1, (8, *env.action_space.shape)).astype(np.float32)
    once = play(env, 7, actions)
    play(env, 8, actions)  # what came before must not matter
    other = chosen.make()
    for again in (play(env, 7, actions), play(other, 7, actions)):
        for a, b in zip(once, again, strict=True):
            np.testing.assert_array_equal(a, b)
    other.close()


def test_different_seeds_differ(env):
    actions = np.zeros((1, *env.action_space.shape), np.float32)
    states, _, frames = play(env, 7, actions)
    other_states, _, other_frames = play(env, 8, actions)
    assert not np.array_equal(states, other_states)
    assert not np.array_equal(frames, other_frames)


def test_frames(env):
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (64, 64, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 5
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 4  # table, gripper and things, not one grey


def test_frames_are_fresh_arrays(env):
    env.reset(seed=0)
    frame = env.render()
    kept = frame.copy()
    env.step(np.ones(env.action_space.shape, np.float32))
    later = env.render()
    np.testing.assert_array_equal(frame, kept)
    assert not np.array_equal(frame, later)


def test_observations_hold_one_frame_and_words(chosen, env):
    env.reset(seed=0)
    observation = chosen.observe(env)
    assert observation.frames.shape == (1, 64, 64, 3)
    np.testing.assert_array_equal(observation.frames[0], env.render())
    gripper = words.to_bins(env.unwrapped.scene.gripper)
    assert observation.proprioception.split()[:3] == ["gripper", str(gripper[0]), str(gripper[1])]


def test_terminates_on_success(chosen, env):
    env.reset(seed=1)
    for _ in range(env.spec.max_episode_steps):
        _, reward, terminated, truncated, info = env.step(chosen.teacher.expert(env)[1])
        assert info["success"] == info["is_success"] == terminated
        if terminated:
            break
    assert terminated
    assert not truncated
    assert reward > 0.99  # the bonus, and the last bit of the way, if any is left


def test_truncates_at_the_horizon(env):
    env.reset(seed=1)
    endings = [env.step(np.zeros(env.action_space.shape, np.float32))[2:] for _ in range(env.spec.max_episode_steps)]
    assert [truncated for _, truncated, _ in endings] == [False] * (len(endings) - 1) + [True]
    assert not any(terminated or info["success"] or info["is_success"] for terminated, _, info in endings)


def test_reward_is_the_distance_covered(env):
    _, info = env.reset(seed=3)
    for action in np.random.default_rng(3).uniform(-1, 1, (5, *env.action_space.shape)).astype(np.float32):
        before = info["distance"]
        _, reward, _, _, info = env.step(action)
        assert reward == pytest.approx((before - info["distance"]) / 0.06 + info["success"])


def test_practice_and_heldout_goals_never_meet(chosen, env):
    goals = set()
    for seed in SEEDS:
        env.reset(seed=seed)
        goals.add(env.unwrapped.goal)
    assert goals == set(GOALS[GOALS_OF[chosen.name]])  # each of them comes up, and no other


def test_heldout_goals_are_new_combinations_of_practised_words():
    practice, heldout = set(GOALS["practice"]), set(GOALS["heldout"])
    assert heldout
    assert not practice & heldout
    assert practice | heldout == set(OBJECTS)
    for position in (0, 1):  # colour, shape
        assert {name.split()[position] for name in heldout} <= {name.split()[position] for name in practice}


def test_the_expert_succeeds(chosen):
    assert success_rate(chosen, lambda env, rng: chosen.teacher.expert(env)[1]) >= 0.98


def test_random_does_not_succeed(chosen):
    def random(env, rng):
        return rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)

    assert success_rate(chosen, random, SEEDS[:80]) < 0.10


def test_doing_nothing_never_succeeds(chosen):
    assert success_rate(chosen, lambda env, rng: np.zeros(env.action_space.shape, np.float32), SEEDS[:40]) == 0


@pytest.mark.parametrize(
    "action", [[1.01, 0], [0, -3], [np.nan, 0], [np.inf, 0], [0], [0, 0, 0], [[0, 0]], 0.5, [0, 0, 0, 2]]
)
def test_impossible_actions_are_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="not in"):
        env.unwrapped.step(np.array(action, np.float32))


def test_unknown_goals_are_refused(chosen):
    with pytest.raises(UserError, match=r"'practise'.*heldout, practice"):
        chosen.make(goals="practise")


def test_instructions_name_only_what_lies_on_the_table(chosen, env):
    for seed in SEEDS:
        env.reset(seed=seed)
        on_table = env.unwrapped.scene.places()
        instruction = chosen.language.instruction(env)
        named = [name for name in (*OBJECTS, *PADS) if name in instruction]
        assert env.unwrapped.goal in named
        assert set(named) <= set(on_table)


def test_things_lie_within_the_picture(chosen, env):
    for seed in SEEDS:
        env.reset(seed=seed)
        places = np.array([*env.unwrapped.scene.places().values(), env.unwrapped.scene.gripper])
        assert np.abs(places).max() < words.HALF_EXTENT


def test_the_expert_says_what_the_thought_regex_allows(chosen, env):
    for seed in SEEDS:
        env.reset(seed=seed)
        assert re.fullmatch(chosen.language.thought_regex, chosen.teacher.expert(env)[0])


def test_every_spoken_word_is_in_the_vocabulary(chosen, env):
    known = {word for entry in vocabulary() for word in entry.split()}
    for seed in SEEDS:
        env.reset(seed=seed)
        said = (
            f"{chosen.language.instruction(env)} {chosen.language.proprioception(env)} {chosen.teacher.expert(env)[0]}"
        )
        assert set(said.replace(";", "").split()) <= known


def test_without_clutter_only_what_is_named_lies_there(chosen, env):
    for seed in SEEDS[:20]:
        env.reset(seed=seed, options={"clutter": False})
        assert all(name in chosen.language.instruction(env) for name in env.unwrapped.scene.places())
        env.reset(seed=seed)
        assert not all(name in chosen.language.instruction(env) for name in env.unwrapped.scene.places())


def test_alike_objects_differ_in_shape_only(chosen, env):
    for seed in SEEDS[:20]:
        env.reset(seed=seed, options={"alike": True})
        objects = env.unwrapped.scene.objects
        assert env.unwrapped.goal in objects
        assert len({name.split()[0] for name in objects}) == 1
        assert len(set(objects)) == len(objects) > 1


def test_things_are_seen_where_they_lie_as_what_they_are():
    """The pixel at a cube has its colour; at another shape it has the mark on its top."""
    env = TASKS["reach"].make()
    for seed in range(50):
        env.reset(seed=seed)
        for name, place in env.unwrapped.scene.places().items():
            if np.linalg.norm(place - env.unwrapped.scene.gripper) > 0.08:
                column = int(32 + place[0] / words.HALF_EXTENT / 1.08 * 32)
                row = int(32 - place[1] / words.HALF_EXTENT / 1.08 * 32)
                pixel = env.render()[row, column] / 255
                tops = COLOURS | MARKS
                distances = {top: np.linalg.norm(pixel - rgb) for top, rgb in tops.items()}
                colour, shape = name.split()
                assert min(distances, key=distances.get) == (shape if shape in MARKS else colour)
    env.close()


def test_the_named_object_is_the_one_that_is_pushed():
    env = TASKS["push"].make()
    env.reset(seed=0)
    goal, before = env.unwrapped.goal, env.unwrapped.scene.places()
    while not env.step(TASKS["push"].teacher.expert(env)[1])[2]:
        pass
    after = env.unwrapped.scene.places()
    moved = {name for name in before if np.linalg.norm(after[name] - before[name]) > 0.01}
    assert moved == {goal}
    env.close()


def test_an_expert_that_takes_the_pad_to_lie_beyond_the_table_shoves_the_object_there():
    env = TASKS["push"].make()
    env.reset(seed=3)
    inner, ended = env.unwrapped, False
    start = inner.scene.places()[inner.goal]
    while not ended:
        _, _, terminated, truncated, _ = env.step(expert(env, {inner.goal_pad: np.add(start, [0.0, 0.4])})[1])
        ended = terminated or truncated
    x, y = inner.scene.places()[inner.goal]
    assert y > words.HALF_EXTENT
    assert abs(x - start[0]) < 0.05
    env.close()


def test_a_mistake_asks_for_another_thing_on_the_table(chosen, env):
    inner, asked = env.unwrapped, set()
    for seed in range(20):
        env.reset(seed=seed)
        before = inner.instruction
        ask_for_another(env, np.random.default_rng(seed))
        assert inner.instruction != before
        assert {inner.goal, inner.goal_pad} - {""} <= set(inner.scene.places())
        asked.add(inner.goal_pad in before)
    assert asked == ({True, False} if inner.goal_pad else {True})
    env.reset(seed=0, options={"clutter": False})
    before = inner.instruction
    ask_for_another(env, np.random.default_rng(0))
    assert inner.instruction == before  # nothing else lies there


def test_a_misleading_teacher_changes_the_instruction_or_has_a_wrong_belief(chosen, env):
    believed = []
    for seed in range(20):
        env.reset(seed=seed)
        before = env.unwrapped.instruction
        act = chosen.teacher.endings.misled(env, np.random.default_rng(seed))
        assert (env.unwrapped.instruction == before) == (act is not None)
        if act:
            assert env.action_space.contains(act(env))
            believed.append(not np.array_equal(act(env), expert(env)[1]))
    assert 5 < len(believed) < 15
    assert (sum(believed) > 3) != chosen.name.startswith("place")  # it goes for the object first, wherever the pad is


def test_tasks_are_looked_up_by_name():
    assert task("reach") is TASKS["reach"]
    with pytest.raises(UserError, match=r"unknown task 'raech'.*'reach'.*valid: reach, .*reach-heldout.*in all"):
        task("raech")


def test_names_cover_colours_and_shapes():
    assert set(OBJECTS) == {f"{colour} {shape}" for colour in COLOURS for shape in SHAPES}
