"""A seed policy of a task from YAML alone: its `sees` gives the captions, the questions and the thoughts."""

import json
from pathlib import Path

import pytest
import torch
import yard
from stable_baselines3 import DQN, PPO

from agent.collect.rollout import rollout
from agent.commands.checks import check_pretrain
from agent.commands.setup.sees import Sees, measure_missing
from agent.config import Pretrain, Stage
from agent.optimise.pretrain import caption_examples, demonstrations, pretrain
from envs.declared.ranges import beside
from envs.registry import task
from policies.action_codec import codec_for, thought_of
from policies.backends.loading import load_backend
from policies.baselines import with_expert
from policies.experts import trust
from policies.mllm import MLLMPolicy

LANE = (
    f"id: {yard.__name__}:HandEyeTest/Lane-v0\n"
    "instruction: bring the ball to the right\nsuccess: {of: terminated, at_least: 1}\n"
    "sees: {ball: 'observation.0:2', speed: observation.2}\n"
)
SFT = {"max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3}


def walking_right(algorithm, env, path):
    """A .zip of Stable-Baselines3 whose last layer has the action to the right, whatever is observed."""
    model = algorithm("MlpPolicy", env, seed=0, device="cpu")
    head = model.policy.q_net.q_net[-1] if algorithm is DQN else model.policy.action_net
    with torch.no_grad():
        head.weight.zero_(), head.bias.zero_()
        head.bias[0] = 1.0
        if algorithm is DQN:
            model.policy.q_net_target.load_state_dict(model.policy.q_net.state_dict())
    model.save(path)
    trust.vouch(path)
    return path


@pytest.mark.parametrize(("told", "before"), [("walk", ""), ("{of: info.name}", "yard. ")])
def test_captions_are_asked_for_after_an_instruction_that_the_environment_tells(declare, told, before):
    """What is to be said of a scene may depend on it, such as where the target is."""
    head = LANE.replace("bring the ball to the right", told).split("sees")[0]
    path = declare("sees: {ball: [{of: info.ball_x, low: 0, high: 7}]}\n", head)
    (examples,) = caption_examples(task(path), [5])
    assert [e.prompt[0]["content"][-1]["text"] for e in examples] == [f"{before}describe", f"{before}where is the ball"]


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [(DQN, ""), pytest.param(PPO, "kwargs: {continuous: true}\n", marks=pytest.mark.slow)],
)
def test_a_seed_policy_comes_of_a_file_and_an_expert(declare, tmp_path, capsys, algorithm, kwargs):
    """The tiny model says what is seen before it acts."""
    path = declare(kwargs, LANE)
    env = yard.Lane(continuous=bool(kwargs))
    expert = walking_right(algorithm, env, tmp_path / "right.zip")
    measure_missing(path, expert)
    measured = capsys.readouterr().out
    assert measured == f"ranges   {beside(Path(path))}\n"
    measure_missing(path, expert), measure_missing("reach")
    assert capsys.readouterr().out == ""
    chosen = with_expert(task(path), expert)
    stages = {"both": Stage(scenes=4, demonstrations={path: 3}, disturbed=0.2, sft=SFT)}
    config = Pretrain(out=str(tmp_path / "seed"), tasks=(path,), stages=stages, experts={path: expert})
    check_pretrain(config)
    made = json.loads((pretrain(config) / "pretrain.json").read_text())
    assert list(made["provenance"]["tasks"][path]["sees"]["content"]) == ["ball", "speed"]
    codec = codec_for(chosen)
    shown = list(demonstrations(chosen, codec, range(600_000, 600_003)))
    for example in shown:
        thought, action = codec.decode(example.answer)
        assert chosen.language.seen.parse(thought)["ball"][0] < 7
        assert (action == 0).all() if algorithm is DQN else action.round()[0] == 1
    (episode,) = rollout(task(path), MLLMPolicy(load_backend(config.out), codec), [(0, 0)])
    assert all(chosen.language.seen.parse(thought_of(step.decision.answer)) for step in episode.steps)


def test_an_expert_measures_again_what_random_play_alone_showed(declare, tmp_path, capsys):
    """Unless somebody has edited it since."""
    path = declare("", LANE)
    measure_missing(path)
    file = beside(Path(path))
    alone = file.read_text()
    measure_missing(path)
    assert file.read_text() == alone  # still without an expert
    expert = walking_right(DQN, yard.Lane(), tmp_path / "right.zip")
    capsys.readouterr()
    measure_missing(path, expert)
    assert "of its expert" in file.read_text()
    by_hand = alone.replace("low: 0.0", "low: -1.0", 1)
    assert by_hand != alone
    file.write_text(by_hand)
    measure_missing(path, expert)
    assert file.read_text() == by_hand


def test_scenes_of_a_mujoco_environment_are_asked_about(reacher):
    """Its captions are true in each picture, also some steps into an episode."""
    path = reacher("sees: auto\n")
    Sees(path, episodes=3).run()
    chosen = task(path)
    for caption, *questions in caption_examples(chosen, range(3), 2):
        assert chosen.language.seen.parse(caption.answer).keys() == chosen.language.seen.parts.keys()
        assert {q.answer for q in questions} <= set(caption.answer.split("; "))
        assert len(questions) == 2
