"""Recorded demonstrations: replayed where a seed is recorded, else their own pictures, else refused in one line."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest
from recordings import KEY, lerobot, played

from agent.collect.rollout import rollout
from agent.commands.checks import check_pretrain
from agent.config import Pretrain, Stage
from agent.optimise.recorded import check_recorded, is_recorded, recorded_examples
from agent.organise.store import EpisodeStore
from envs import registry
from envs.errors import UserError
from policies.action_codec import codec_for
from policies.base import Decision
from policies.baselines import ExpertPolicy

SEEDS = (3, 4)
NAMES = "actions: [left, stay, right]\n"


def rows(task, n=10):
    assert is_recorded(task)
    return list(recorded_examples(task, n))


def test_actions_are_replayed_from_the_recorded_seed(catch, tmp_path, capsys):
    lerobot(tmp_path / "set", SEEDS, dtype="", told=SEEDS)
    task = registry.task(catch(NAMES + "expert: {demonstrations: 'lerobot:set'}\nimage_size: 96\n"))
    examples = rows(task)
    actions, pictures = played(SEEDS[0])
    assert [e.answer for e in examples[:18]] == [f"move {('left', 'stay', 'right')[a]}" for a in actions]
    assert (np.stack([e.frames[0] for e in examples[:18]]) == pictures).all()
    assert len(examples) == 36
    assert len(rows(task, n=1)) == 18
    assert "2 of 2 demonstrations" in capsys.readouterr().out


def test_a_replay_that_does_not_succeed_gives_no_rows(catch, tmp_path, capsys):
    lerobot(tmp_path / "set", SEEDS, dtype="", told=(5, SEEDS[1]))  # the first was played from another seed
    assert played(5)[0] != played(3)[0]
    assert len(rows(registry.task(catch("expert: {demonstrations: 'lerobot:set'}\n")))) == 18
    assert "1 of 2 demonstrations in lerobot:set give rows for game.yaml" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["image", "video"])
def test_without_a_seed_the_pictures_are_the_recorded_ones(catch, tmp_path, dtype):
    lerobot(tmp_path / "set", SEEDS, dtype, task="catch it")
    task = registry.task(catch("expert: {demonstrations: 'lerobot:set'}\nimage_size: 48\nframes: 2\n"))
    examples = rows(task)
    assert len(examples) == 36
    for start, seed in zip((0, 18), SEEDS, strict=True):
        actions, pictures = played(seed)
        assert [e.answer for e in examples[start : start + 18]] == [f"move {a}" for a in actions]
        for i in (0, 1, 17):
            before, now = examples[start + i].frames.astype(int)
            for shown, at in ((before, max(0, i - 1)), (now, i)):
                scaled = pictures[at].reshape(48, 2, 48, 2, 3).mean((1, 3))
                assert np.abs(shown - scaled).mean() < (1 if dtype == "image" else 6)  # a video has losses
    assert "catch it" in str(examples[0].prompt)


def test_our_own_episodes_are_replayed_and_those_of_evaluation_left_out(catch, tmp_path):
    name = catch("", "played.yaml")
    task = registry.task(name)

    class Recorded:
        def act_on(self, envs):
            return [Decision("", np.int64(1 + np.sign(e.unwrapped.ball - e.unwrapped.paddle))) for e in envs]

    starts = [(3, 0), (4, 0), (2_000_500, 0)]
    episodes = rollout(task, Recorded(), starts)
    EpisodeStore(tmp_path / "episodes").append(episodes)
    assert all(e.success for e in episodes)
    practised = episodes[:2]
    shown = rows(registry.task(catch("expert: {demonstrations: episodes}\n")))
    assert [e.answer for e in shown] == [f"move {s.decision.action}" for e in practised for s in e.steps]


def test_minari(catch, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    from minari.data_collector import EpisodeBuffer

    buffers = []
    for number, seed in enumerate(SEEDS):
        actions, _ = played(seed)
        observations = np.zeros((len(actions) + 1, 3), np.float32)
        ends = [i == len(actions) - 1 for i in range(len(actions))]
        buffers.append(
            EpisodeBuffer(number, seed, None, list(observations), actions, [0.0] * len(actions), ends, [False] * 18)
        )
    env = gym.make("tests.games:Catch-v0")
    made = minari.create_dataset_from_buffers("mine/catch-v0", buffers, env=env, data_format="arrow")
    folder = made.storage.data_path.parent
    assert len(rows(registry.task(catch(f"expert: {{demonstrations: 'minari:{folder}'}}\n")))) == 36


def test_minari_is_an_extra(catch, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match=r"'minari:set' needs minari; valid once it is installed: pip install 'handeye"):
        check_recorded(registry.task(catch("expert: {demonstrations: 'minari:set'}\n")))


def test_demonstrations_are_no_policy(catch, tmp_path):
    lerobot(tmp_path / "set", SEEDS, told=SEEDS)
    task = registry.task(catch("expert: {demonstrations: 'lerobot:set'}\n"))
    with pytest.raises(UserError, match="is shown by lerobot:set alone; valid: zero, random or a checkpoint"):
        ExpertPolicy(task, codec_for(task))


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({"dtype": ""}, "", "records neither a seed to replay it from nor pictures"),
        ({"told": SEEDS}, "repeat: 2\n", "records every step, and task 'game.yaml' has repeat = 2; valid: repeat: 1"),
    ],
)
def test_what_cannot_be_used_is_refused_first(catch, tmp_path, changes, more, message):
    lerobot(tmp_path / "set", SEEDS, **changes)
    name = catch(more + "expert: {demonstrations: 'lerobot:set'}\n")
    stages = {"form": Stage(demonstrations={name: 2})}
    with pytest.raises(UserError, match=message):
        check_pretrain(Pretrain("out", (name,), stages))


def test_actions_of_another_space_are_named(dock, tmp_path):
    lerobot(tmp_path / "set", SEEDS, told=SEEDS)
    with pytest.raises(UserError, match=r"episode 0 of 'lerobot:set' has an action .*; valid for 'game.yaml': of Box"):
        check_recorded(registry.task(dock("expert: {demonstrations: 'lerobot:set'}\n")))


def test_a_broken_dataset_is_named(catch, tmp_path):
    folder = lerobot(tmp_path / "set", SEEDS, told=SEEDS)
    task = registry.task(catch("expert: {demonstrations: 'lerobot:set'}\n"))
    info = json.loads((folder / "meta" / "info.json").read_text())
    (folder / "meta" / "info.json").write_text(json.dumps(info | {"codebase_version": "v2.1"}))
    with pytest.raises(UserError, match=r"'lerobot:set' has version v2\.1; valid: v3\.0"):
        check_recorded(task)
    del info["features"]["action"]
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=f"has no action; its features: {KEY}"):
        check_recorded(task)
    (folder / "meta" / "info.json").unlink()
    with pytest.raises(UserError, match=r"'lerobot:set' cannot be read: FileNotFoundError"):
        check_recorded(task)
