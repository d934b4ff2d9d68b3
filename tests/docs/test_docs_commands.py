"""Each command of README, the docs and the comments of configs is one: its own parser takes it, and the files that it
names are there."""

import argparse
import re
import runpy
import sys
from contextlib import redirect_stdout
from dataclasses import fields
from functools import cache
from importlib.util import find_spec
from io import StringIO

import pytest
import tyro
from reading import CONFIGS, PAGES, ROOT, Command, commands

from agent import cli
from agent.config import Config, load
from agent.config.experiments import Experiment
from agent.config.pretraining import Pretrain
from envs.errors import UserError

KINDS = {"improve": Config, "pretrain": Pretrain, "compare": Experiment}
# For keys of a config that is no file here
STAND_INS = {"improve": "configs/demo.yaml", "pretrain": "configs/pretrain.yaml"}
ALL = [command for page in (*PAGES, *CONFIGS) for command in commands(page)]


def of(*programs) -> list[Command]:
    return [command for command in ALL if command.words[0] in programs]


class Parsed(BaseException):
    """The arguments were taken; what would follow is left out."""


def test_commands_are_found():
    assert {command.words[0] for command in ALL} >= {"handeye", "python", "make", "pytest"}
    assert len(of("handeye")) > 100
    assert {command.words[1] for command in of("handeye") if command.page == "README.md"} == cli.COMMANDS.keys()


@pytest.mark.parametrize("command", of("handeye"), ids=str)
def test_handeye_takes_its_commands(command, capsys):
    name, *arguments = command.words[1:]
    assert name in cli.COMMANDS
    check_paths(command)
    if not command.whole and name in ("improve", "pretrain") and not arguments:
        return
    try:
        parsed = cli.parse((name, *(argument for argument in arguments if argument != cli.QUIET)))
    except SystemExit:
        assert not command.whole, capsys.readouterr().err
        check_mention(name, arguments)
    else:
        check_config(name, parsed)


def check_paths(command):
    """Files of this repository that are named are there, and so are configs that look like ours."""
    for word in command.words:
        if re.match(r"(configs|tests|docs|policies)/", word):
            assert (ROOT / word.partition("::")[0]).exists(), word


@cache
def help_of(name) -> str:
    """As `handeye COMMAND --help` prints it."""
    said = StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit):
        cli.parse((name, "--help"))
    return said.getvalue()


def check_mention(name, arguments):
    """A mention lacks some arguments, but its options are the command's."""
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert re.search(rf"{option}\b", help_of(name)), option


def check_config(name, parsed):
    """The config that is named is whole, and every override is a key of it."""
    if name not in KINDS:
        return
    path = parsed.config
    if not (ROOT / path).is_file():
        path = STAND_INS.get(name)
    if path:
        load(ROOT / path, getattr(parsed, "overrides", ()), KINDS[name])


def scripts():
    """Those in agent/ import torch, which takes seconds."""
    for command in of("python"):
        yield pytest.param(command, marks=[pytest.mark.slow] if "agent." in command.words[2] else [], id=str(command))


@pytest.mark.parametrize("command", scripts())
def test_scripts_take_their_commands(command, monkeypatch):
    """Those of this repository: a script parses its arguments before all else, with argparse or tyro."""
    first, *arguments = command.words[1:]
    if first == "-m":
        module, *arguments = arguments
        if module.partition(".")[0] not in ("agent", "tests"):
            assert find_spec(module), module
            return
        path = ROOT / f"{module.replace('.', '/')}.py"
    else:
        path = ROOT / first
    assert path.is_file(), path
    check_paths(command)
    text = path.read_text()
    if "ArgumentParser(" not in text and "tyro.cli(" not in text:
        assert not any(argument.startswith("-") for argument in arguments)
        return
    for owner, parser in ((argparse.ArgumentParser, "parse_args"), (tyro, "cli")):
        monkeypatch.setattr(owner, parser, stopping(getattr(owner, parser)))
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    monkeypatch.syspath_prepend(str(path.parent))
    with pytest.raises(Parsed):
        runpy.run_path(str(path), run_name="__main__")


def stopping(parse):
    def parsed(*args, **kwargs):
        parse(*args, **kwargs)
        raise Parsed

    return parsed


@pytest.mark.parametrize("command", of("make"), ids=str)
def test_make_targets_exist(command):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for word in command.words[1:]:
        assert "=" in word or word in targets, word


@pytest.mark.parametrize("command", of("pytest"), ids=str)
def test_test_files_exist(command):
    check_paths(command)


def test_switches_of_commands_are_told_from_keys():
    """A command with overrides must not take an unknown option of its own for a key."""
    assert {name for name, kind in cli.COMMANDS.items() if "overrides" in {f.name for f in fields(kind)}} <= set(KINDS)


@pytest.mark.parametrize(
    "line",
    [
        "handeye look",
        "handeye eval push --episode 5",
        "handeye improve configs/demo.yaml --collect.attempt 3",
        "handeye improve configs/demonstration.yaml",
    ],
)
def test_what_is_wrong_fails(line, capsys):
    with pytest.raises((AssertionError, UserError)):
        test_handeye_takes_its_commands(Command("README.md", tuple(line.split()), True), capsys)
