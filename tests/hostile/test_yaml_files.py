"""A YAML file from anywhere is one mapping of plain values, or is refused in one line that names file and line."""

import math
import os
from itertools import count

import pytest

from agent.config import Config, Experiment, Pretrain, load
from envs.declared import Declared, declared
from envs.errors import UserError
from envs.validation import MOST_BYTES, checked, parse, read
from policies.backends.settings import ModelSettings

TASK = "id: CartPole-v1\ninstruction: balance\nsuccess: {of: return, at_least: 1}\n"
LETTERS = "abcdefghi"


def aliases(first, each):
    """The billion laughs: nine lines, each nine times the one before."""
    lines = [f"a: &a {first}"]
    for one, last in zip(LETTERS[1:], LETTERS, strict=False):
        lines.append(f"{one}: &{one} " + each.format(", ".join([f"*{last}"] * 9)))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a: 1\nb: 2\na: 3", 3, "key 'a' is given twice, first in line 1"),
        ("a: {b: 1, c: 2,\n 'b': 3}", 2, "key 'b' is given twice, first in line 1"),
        (aliases("[x]", "[{}]"), 6, "more than 50000 values, with those that aliases repeat"),
        (aliases("{x: 1}", "{{<<: [{}]}}"), 6, "more than 50000 values"),
        ("a: [" + "1, " * 60_000 + "1]", 1, "more than 50000 values"),
        ("a: &a [*a]", 1, "the value &a holds itself"),
        ("a: &a\n  b: &b\n    c: *a", 3, "the value &a holds itself"),
        ("b: 1\na:\n" + "- " * 60, 3, "more than 40 levels"),
        ("{a: " * 5000, 1, "more than 40 levels"),
        ("a:\n\tb: 1", 2, "cannot start any token"),
        ("a: 1\n[1, 2]: 3", 2, "a key that is no plain"),
        ("{[1, 2]: 3}", 1, "a key that is no plain text or number"),
        ("? {a: 1}\n: 2", 1, "a key that is no plain text or number"),
        ("a: 1\nid: !!python/object/apply:os.system ['true']", 2, "os.system', where only plain values are taken"),
        ("id: !mine 3", 1, "tag '!mine'"),
        ("a: 1\nb: .nan", 2, ".nan is no number"),
        ("a: " + "1" * 5000, 1, "is no int"),
        ("a: 2026-13-45", 1, "is no timestamp"),
        ("a: 0x_", 1, "is no int"),
        ("a: !!bool maybe", 1, "'maybe' is no bool"),
        ("a: !!int ''", 1, "is no int"),
        ("a: 1\n---\na: 2", 2, "a single document"),
        ("a: *b", 1, "undefined alias 'b'"),
        ("a: 1\nb: 'x", 2, "unexpected end of stream"),
        ("a: 1\nb: \0", 2, r"'\x00' is not text"),
    ],
    ids=map(str, count()),
)
def test_what_yaml_hides_is_refused_with_its_line(tmp_path, text, line, told):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert f"{str(path)!r} is not YAML: line {line}: " in message
    assert told in message
    assert "\n" not in message
    assert len(message) < 500


def test_what_yaml_allows_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("\ufeffd: &d {a: 1, b: é}\ne: {<<: *d, a: 2}\nf: *d\ng: .inf\n", encoding="utf-8")
    assert read(path) == {"d": {"a": 1, "b": "é"}, "e": {"a": 2, "b": "é"}, "f": {"a": 1, "b": "é"}, "g": math.inf}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "a: 1\nb: Süden".encode("latin-1"),
            "not UTF-8: byte 0xfc at 9, in line 2; valid: a text file saved as UTF-8",
        ),
        ("a: 1".encode("utf-16"), "is not UTF-8: byte 0xff at 0, in line 1"),
        (bytes(range(256)), "is not UTF-8"),
        (b"#" * (MOST_BYTES + 1), f"more than {MOST_BYTES} bytes"),
        (b"- a", "holds list; valid: a mapping"),
        (b"a", "holds str; valid: a mapping"),
    ],
    ids=map(str, count()),
)
def test_a_file_that_is_no_config_is_named(tmp_path, content, told):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    assert repr(str(path)) in str(error.value)
    assert told in str(error.value)


def test_a_path_that_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", tmp_path / "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"no config '|cannot be read"):
            read(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'id' is missing"),
        (TASK.replace("balance", "''"), "instruction = ''"),
        (TASK + "max_steps: 5\nmax_steps: 500\n", "line 5: key 'max_steps' is given twice, first in line 4"),
        (TASK.replace("at_least: 1", "at_least: .nan"), ".nan is no number"),
        (TASK.replace("at_least: 1", "at_most: -.inf"), "finite number"),
        ("questions: x\ntolerance: .inf\nanswers: free\n", "'tolerance' = inf"),
    ],
)
def test_a_declared_task_is_refused_with_its_file(tmp_path, text, told):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        declared(str(path))
    assert repr(str(path)) in str(error.value)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("[1", "is not YAML: line 1"),
        ("{a: 1, a: 2}", "given twice"),
        ("&a [*a]", "holds itself"),
        (".nan", "no number"),
    ],
)
def test_an_override_is_read_as_a_file_is(tmp_path, value, told):
    path = tmp_path / "config.yaml"
    path.write_text("policy: seed\ntasks: [reach]\n")
    with pytest.raises(UserError, match=rf"'sft' = '.*{told}"):
        load(path, ("--sft", value))


ODD = (
    *(None, True, -1, 0, 10**400, 1.5, math.inf, "", "x", "é" * 1000, b"x", {1, 2}),
    *([], [1], [[]], [None], [{"x": 1}], ["reach", {}]),
    *({}, {"x": 1}, {1: 2}, {None: None}, {"a": {"b": {"c": 1}}}, {"server": 1}, {"of": [], "at_least": {}}),
)
VALID = {
    Declared: TASK,
    Config: "policy: x\ntasks: [reach]",
    Pretrain: "out: x\ntasks: [reach]\nstages: {a: {scenes: 1, first_scene: 0}}",
    Experiment: "out: x\nbase: y\nseeds: [1]\narms: {a: {}}",
    ModelSettings: "{}",
}


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_any_value_under_any_key_is_taken_or_refused_in_one_line(kind):
    """Each of a config's keys, and two that it does not have, with each odd value, whole and in a section of it."""
    values, messages = parse(VALID[kind]), []
    for key in (*kind.__dataclass_fields__, "unknown", 1):
        inner = values.get(key) if isinstance(values.get(key), dict) else {}
        for odd in ODD:
            for changed in (odd, inner | {"x": odd}, inner | {"of": odd}):
                try:
                    checked(kind, values | {key: changed})
                except UserError as error:
                    messages.append(str(error))
    assert len(messages) > 50
    assert max(map(len, messages)) < 3000
    assert "\n" not in "".join(messages)
