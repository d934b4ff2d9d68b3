"""Languages: a family's grammar, parser and text agree, and only a teacher reads the true state."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import policies
from envs.language import Bins, Language, SignedLevels, matched
from envs.registry import TASKS
from envs.task import EnvSpec, Task, Teacher
from policies.critic import conclude
from policies.mllm import MLLMPolicy

FAMILIES = ("reach", "push", "lift", "place", "reacher")
ALTERNATIVES = re.compile(r"\(([^()]*)\)(\??)")


def sampled(regex, rng):
    """A random text of a regex that consists of alternatives, optional groups and signs."""

    def drawn(match):
        words, optional = match.groups()
        return "" if optional and rng.random() < 0.5 else str(rng.choice(words.split("|"))).replace("\\", "")

    text = regex.replace("[+-]", "(+|-)")
    while "(" in text:
        text = ALTERNATIVES.sub(drawn, text)
    return text


@pytest.mark.parametrize("name", FAMILIES)
def test_whatever_the_grammar_allows_is_said_as_it_was_parsed(name):
    language, rng = TASKS[name].language, np.random.default_rng(0)
    texts = [sampled(language.thought_regex, rng) for _ in range(200)]
    assert len(set(texts)) > 190
    for text in texts:
        assert language.say(language.parse(text)) == matched(language.thought_regex, text)
    for text in [sampled(language.ending_regex, rng) for _ in range(200)] if language.ending_regex else ():
        assert language.say_ending(language.parse_ending(text)) == matched(language.ending_regex, text)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_derived_is_derived_already(name):
    """What is derived parses too."""
    language, rng = TASKS[name].language, np.random.default_rng(1)
    own = {"reacher": "arm 24 +0 30 -2"}.get(name, "gripper 12 20" + " mid open" * (name in ("lift", "place")))
    for _ in range(100):
        thought = language.derive(sampled(language.thought_regex, rng), own)
        assert language.derive(thought, own) == matched(language.thought_regex, thought)
        for success in (False, True):
            ending = language.conclude(thought, own, success)
            assert re.fullmatch(language.ending_regex, ending)
            assert language.derive_ending(language.derive_ending(ending, own), own) == language.derive_ending(
                ending, own
            )


@pytest.mark.parametrize("name", ["reach", "lift"])
def test_a_thought_about_another_goal_keeps_all_else(name):
    language, rng = TASKS[name].language, np.random.default_rng(2)
    for _ in range(20):
        thought = sampled(language.thought_regex, rng)
        assert language.about(thought, "green triangle").split()[2:] == thought.split()[2:]
        assert language.about(thought, "green triangle").startswith("green triangle ")


@pytest.mark.parametrize("name", FAMILIES)
def test_what_does_not_parse_is_named(name):
    with pytest.raises(Exception, match=r"'red sphere 1 1' does not parse; valid: ") as error:
        TASKS[name].language.parse("red sphere 1 1")
    assert type(error.value).__name__ == "UserError"


def test_of_a_plain_thought_nothing_follows():
    plain = Language()
    assert plain.derive("hm", "") == plain.say(plain.parse("hm")) == "hm"
    assert plain.called_for("hm", "") is None
    assert plain.relabel(["hm", "so"], ["", "", ""], [0.0, 1.0], [0, 1]) == ["hm", "so"]
    assert plain.conclude("hm", "", True) == plain.derive_ending("", "") == ""
    task = Task("plain", "test", "practice", EnvSpec("CartPole-v1"))
    assert (task.language.thought_regex, task.language.ending_regex, task.language.words) == ("", "", ())
    assert task.teacher == Teacher()


@pytest.mark.parametrize("kind", [Bins(-1, 1, 4), SignedLevels(1.0, 3)])
def test_a_level_is_spelt_as_one_of_the_words(kind):
    words = [kind.word(x) for x in np.linspace(-1, 1, 50)]
    assert set(words) == set(kind.words)
    assert [kind.spell(int(word)) for word in kind.words] == list(kind.words)


def test_no_acting_policy_reaches_a_teacher():
    """In policies/ only baselines.py, which has the expert, reads `teacher`; MLLMPolicy and `conclude` get no task."""
    modules = Path(policies.__file__).parent.glob("*.py")
    reaching = [
        path.name
        for path in modules
        if any(
            isinstance(node, ast.Attribute) and node.attr == "teacher" for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert reaching == ["baselines.py"]
    assert "task" not in MLLMPolicy.__init__.__code__.co_varnames
    assert "task" not in conclude.__code__.co_varnames
