"""Tasks from YAML: a file declares a task of any environment, and a bad key is named."""

import pytest

from agent.collect.rollout import rollout
from envs.declared import declared
from envs.errors import UserError
from envs.registry import task
from policies.action_codec import codec_for
from policies.baselines import RandomPolicy
from policies.dialect import chat_for

DECLARED = "id: HandEyeTest/Counting-v0\ninstruction: count\nsuccess: {of: return, at_least: 4}\n"


def test_a_file_declares_a_task(declare):
    path = declare(DECLARED + "repeat: 2\nframes: 2\nimage_size: 16\nmax_steps: 6\nactions: [one, two, three]\n")
    chosen = task(path)
    assert chosen is declared(path)
    codec = codec_for(chosen)
    assert codec.decode("move two")[1] == 2
    (episode,) = rollout(chosen, RandomPolicy(codec.action.space), [(0, 0)])
    assert (len(episode.steps), episode.success, episode.task) == (3, True, path)
    assert episode.steps[0].observation.frames.shape == (2, 16, 16, 3)
    assert episode.steps[0].observation.instruction == "count"


def test_a_legend_is_told_to_a_model_that_is_asked_in_a_conversation(declare):
    legend = ("Each number is a count.", "One is + and two is -.")
    chosen = task(declare(f"{DECLARED}legend: {list(legend)}\n"))
    assert chosen.language.legend == legend
    assert " ".join(legend) in chat_for(chosen, 2).act(chosen.observe(reset(chosen)))[0]["content"][0]["text"]
    assert task(declare(DECLARED)).language.legend == ()


def reset(chosen):
    env = chosen.make()
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("text", "horizon"),
    [
        ("id: CartPole-v1\n", 500),
        ("id: CartPole\n", 500),  # the newest version, as Gymnasium makes it
        ("id: gymnasium:CartPole-v1\nrepeat: 3\n", 167),
        ("id: CartPole-v1\nmax_steps: 6\nrepeat: 2\n", 3),
        ("id: CartPole-v1\nkwargs: {max_episode_steps: -1}\n", None),
        ("id: HandEyeTest/Counting-v0\n", 4),
    ],
)
def test_a_declared_task_has_the_horizon_of_its_environment(declare, text, horizon):
    assert task(declare(f"{text}instruction: act\nsuccess: {{of: return, at_least: 1}}\n")).horizon == horizon


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id: Countin-v0\ninstruction: count\nsuccess: {of: return, at_least: 1}\n",
            "unknown environment 'Countin-v0'; valid: ",
        ),
        (DECLARED + "framse: 2\n", "unknown config key 'framse' .did you mean 'frames'"),
        (DECLARED + "frames: 0\n", "'frames' = 0"),
        (DECLARED + "legend: one is right\n", "'legend' = 'one is right'"),
        (DECLARED + "legend: ['']\n", "'legend.0' = ''"),
        (DECLARED + "actions: [one, two]\n", "actions one, two; valid: 3 different names"),
        (DECLARED + "camera: top\n", "camera 'top' of an environment without MuJoCo"),
        (
            "id: Reacher-v5\ninstruction: reach\nsuccess: {of: return, at_least: 1}\ncamera: top\n",
            "unknown camera 'top'; valid: none",
        ),
        ("id: CartPole-v1\nsuccess: {of: return, at_least: 1}\n", "'instruction' is missing"),
        ("- CartPole-v1\n", "holds list; valid: a mapping"),
    ],
)
def test_a_bad_declaration_is_named(declare, text, message):
    with pytest.raises(UserError, match=message):
        codec_for(task(declare(text)))


def test_a_missing_declaration_is_named():
    with pytest.raises(UserError, match=r"no config 'nowhere.yaml'"):
        task("nowhere.yaml")
