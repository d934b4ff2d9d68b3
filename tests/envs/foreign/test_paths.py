"""Values of an environment by their paths."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from envs.errors import UserError
from envs.foreign.paths import parts, text_at, value_at

OBSERVATION = {"mission": "go to the red ball", "image": np.arange(6.0).reshape(2, 3), "list": [4, 5]}
INFO = {"agent": {"x": 3}, "a b": 7, "goal": "left"}


class Speaking(gym.Env):
    language_instruction = "pick up\n the cup"
    task = SimpleNamespace(name="cup", goal=lambda: np.array([1.0, 2.0]), _hidden=9)

    def spoken(self):
        return "say it"

    def failing(self, needed):
        return needed


def at(path, observation=OBSERVATION):
    return value_at(path, observation, INFO, gym.wrappers.TimeLimit(Speaking(), 5))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("observation.mission", "go to the red ball"),
        ("observation.image[1][2]", 5.0),
        ("observation.image.1.2", 5.0),
        ("observation['list'][-1]", 5),
        ("info.agent.x", 3),
        ('info["a b"]', 7),
        ("task.name", "cup"),
        ("task._hidden", 9),
        ("task.goal()[1]", 2.0),
        ("spoken()", "say it"),
        ("_max_episode_steps", 5),  # of a wrapper
    ],
)
def test_a_path_leads_to_its_value(path, value):
    assert at(path) == value


def test_a_slice_is_a_part():
    assert at("observation.image[0][1:]").tolist() == [1.0, 2.0]


def test_an_observation_that_is_an_array_is_indexed():
    assert at("observation[3]", np.arange(5)) == 3


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("observation.mision", "'observation.mision' of path 'observation.mision': 'mision' (did you mean 'mission'?)"),
        ("info.agent.y", "'y'; valid: x"),
        ("task.nane", "did you mean 'name'?"),
        ("observation.image[2]", "no observation.image[2]; valid there: 0 to 1"),
        ("observation.image.shapes", "valid there, an array of (2, 3): [0], [1]"),
        ("observation.list[9]", "valid there: 0 to 1"),
        ("language_instructions", "did you mean 'language_instruction'?"),
        ("task.name()", "task.name() is str, no method"),
        ("failing()", "valid: a method that takes nothing"),
        ("", "path '' cannot be read"),
        ("[0]", "path '[0]' cannot be read"),
        ("a..b", "cannot be read at '..b'"),
        ("info.x; import os", "cannot be read"),
    ],
)
def test_what_is_missing_is_named_with_what_is_valid_there(path, said):
    with pytest.raises(UserError) as error:
        at(path)
    assert said in str(error.value)


def test_a_text_is_one_line_and_no_number():
    env = Speaking()
    assert text_at("language_instruction", None, {}, env) == "pick up the cup"
    assert text_at("observation[0]", [np.array("left")], {}, env) == "left"
    assert text_at("observation[0]", [b"left"], {}, env) == "left"
    with pytest.raises(UserError, match=r"info.agent is \{'x': 3\} \(dict\); valid: a path to a text"):
        text_at("info.agent", None, INFO, env)


def test_the_parts_of_a_path_say_how_far_they_lead():
    assert [part.until for part in parts("physics.xpos['target'][0:3]")] == [
        "physics",
        "physics.xpos",
        "physics.xpos['target']",
        "physics.xpos['target'][0:3]",
    ]
