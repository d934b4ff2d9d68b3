"""What an expert still reaches in the words of its task, and which words are chosen where a file gives none."""

import enum
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml

from agent.measure import ceiling
from agent.optimise.pretrain import demonstrations
from envs import registry
from envs.declared.measured import measured, note, open_keys
from envs.errors import UserError
from envs.foreign.action_names import own_names
from envs.foreign.teaching import TrainedExpert
from policies.action_codec import codec_for


def pilot(env):
    """Drives to the ring gently: near it, its thrust is small."""
    inner = env.unwrapped
    return "", np.clip(2 * (inner.ring - inner.place) - 4 * inner.velocity, -1, 1).astype(np.float32)


def catcher(env):
    inner = env.unwrapped
    return "", 1 + int(np.sign(inner.ball - inner.paddle)) * (abs(inner.ball - inner.paddle) > 0.03)


def taught(name, expert):
    task = registry.task(name)
    return replace(task, teacher=replace(task.teacher, expert=expert))


def test_fine_words_cost_nothing_and_coarse_ones_do(dock):
    task = registry.task(dock())
    fine, coarse = (ceiling.tried(ceiling.in_words(task, levels, 1), pilot, range(12)).success for levels in (21, 3))
    assert fine["k"] == fine["n"] == 12
    assert coarse["k"] < 6


def test_the_coarsest_words_that_cost_no_success_are_chosen(dock):
    task = taught(dock(), pilot)
    choice = ceiling.choose(task, pilot, episodes=12)
    own, *others = choice.tried
    assert own.success["k"] == 12
    assert choice.kept.loss(own) <= ceiling.WITHIN
    rounded = {each.levels: each.loss(own) > ceiling.WITHIN for each in others if each.levels}
    assert rounded == {3: True, 5: True, 9: False}
    assert (choice.levels, choice.repeat) == (9, 1)  # held for two steps, an episode has five decisions
    assert "chosen: levels" in choice.lines()[-1]


def test_an_action_is_held_no_longer_than_the_expert_can_stand(catch):
    choice = ceiling.choose(registry.task(catch()), catcher, episodes=12)
    assert choice.levels is None
    assert choice.kept.decisions >= ceiling.DECISIONS
    assert choice.kept.loss(choice.tried[0]) <= ceiling.WITHIN
    assert [each.repeat for each in choice.tried] == ([1, 2] if choice.repeat == 1 else [1, 2, 4])


def test_the_choice_is_written_beside_the_task_and_used_from_then_on(dock, monkeypatch, capsys):
    name = dock("repeat: 1\n")
    monkeypatch.setattr(ceiling, "with_expert", lambda task: taught(task.name, pilot))
    monkeypatch.setattr(ceiling, "EPISODES", 12)
    choice = ceiling.settle(name)
    assert yaml.safe_load(Path("game.measured.yaml").read_text()) == {"levels": choice.levels}
    assert "'game.measured.yaml'" in capsys.readouterr().out
    assert registry.task(name).actions.levels == choice.levels
    assert len(codec_for(registry.task(name)).action.words) == choice.levels
    assert open_keys(name) == ()
    assert ceiling.settle(name) is None  # nothing is open any more


def test_names_of_actions_have_no_levels_to_choose(catch, monkeypatch):
    """Nothing is played for them, neither at first nor again."""
    monkeypatch.setattr(ceiling, "choose", None)
    assert ceiling.settle(catch("repeat: 2\n")) is None


def test_the_zip_of_a_config_goes_before_the_experts_of_files(catch, monkeypatch):
    asked = []

    def found(task):
        asked.append(task.teacher.shown_by)
        return task

    monkeypatch.setattr(ceiling, "with_expert", found)
    assert ceiling.settle(catch("expert: {sb3: ppo}\n"), Path("mine.zip")) is None
    assert asked == [TrainedExpert(Path("mine.zip"))]


def now_and_then(env):
    """Breaks the episodes of seed 1."""
    if env.unwrapped.np_random_seed == 1:
        raise RuntimeError("it fell")
    return pilot(env)


def test_an_episode_of_the_expert_that_breaks_is_no_demonstration(dock, capsys):
    task = taught(dock(), now_and_then)
    codec, whole = codec_for(task), taught(dock(), pilot)
    shown = list(demonstrations(task, codec, range(3)))
    assert [e.answer for e in shown] == [e.answer for e in demonstrations(whole, codec, (0, 2))]
    assert "1 of 3 starts of game.yaml broke, left out; the first: RuntimeError: it fell" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"task 'game.yaml' broke from each of 1 starts; the first: RuntimeError"):
        list(demonstrations(task, codec, [1]))


def test_an_episode_of_the_expert_that_breaks_is_left_out(dock):
    played = ceiling.tried(registry.task(dock()), now_and_then, range(3))
    assert played.success["n"] == 2
    with pytest.raises(UserError, match=r"every episode of the expert of 'game.yaml' broke; .*: it fell"):
        ceiling.tried(registry.task(dock()), now_and_then, [1])


def test_what_a_file_gives_goes_before_what_was_measured(dock):
    name = dock("levels: 5\n")
    note(name, levels=21, repeat=2)
    task = registry.task(name)
    assert (task.actions.levels, task.env.repeat) == (5, 2)
    assert note(name, repeat=1).read_text().startswith("# Measured")
    assert (measured(name).levels, measured(name).repeat) == (21, 1)


def test_a_bad_measured_file_is_named(dock, tmp_path):
    name = dock()
    (tmp_path / "game.measured.yaml").write_text("levles: 5\n")
    with pytest.raises(UserError, match=r"'game\.measured\.yaml': unknown config key 'levles' .did you mean 'levels'"):
        registry.task(name)


def test_an_expert_that_never_succeeds_is_named(dock):
    with pytest.raises(UserError, match="succeeds on none of 5 practice starts"):
        ceiling.choose(registry.task(dock()), lambda env: ("", np.ones(2, np.float32)), episodes=5)


class _Named(gym.Env):
    def __init__(self, n=3, **attributes):
        self.action_space = gym.spaces.Discrete(n)
        vars(self).update(attributes)


class _Actions(enum.IntEnum):
    LEFT, RIGHT, pickup = range(3)


class _Highway:
    actions = {1: "IDLE", 0: "LANE_LEFT", 2: "LANE_RIGHT"}  # noqa: RUF012 (as highway-env has it)


@pytest.mark.parametrize(
    ("env", "names"),
    [
        (_Named(actions=_Actions), ("left", "right", "pickup")),
        (_Named(2, actions=_Actions), ()),
        (_Named(get_action_meanings=lambda: ["NOOP", "FIRE", "UPRIGHT"]), ("noop", "fire", "upright")),
        (_Named(action_type=_Highway()), ("lane left", "idle", "lane right")),
        (_Named(actions=[0, 1, 2]), ()),
        (_Named(get_action_meanings=lambda: ["A", "A", "B"]), ()),
        (_Named(), ()),
    ],
)
def test_names_of_actions_are_the_environments_own(env, names):
    assert own_names(env) == names
