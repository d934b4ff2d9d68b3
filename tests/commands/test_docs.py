"""The README is true: its files exist, its commands and targets too."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```\w*\n(.*?)```", README, flags=re.DOTALL)
LINES = [line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()]


def starting(*words):
    return [line for line in LINES if line.split()[:1] and line.split()[0] in words]


def test_the_file_tree_exists():
    paths = [line.split()[0] for line in LINES if re.match(r"[\w/]+/(\s|$)", line)]
    assert {"agent/", "envs/", "policies/", "configs/", "tests/"} <= set(paths)
    for path in paths:
        assert (ROOT / path).is_dir(), path


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_make_targets_exist():
    targets = {line.split()[1] for line in starting("make")}
    assert {"demo", "test", "check"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_configs_that_are_named_exist():
    for path in re.findall(r"configs/[\w./]+\.yaml", README):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("command", sorted({line.split()[1] for line in starting("handeye")}))
def test_commands_and_their_options_exist(command):
    program = [str(Path(sys.executable).with_name("handeye")), command, "--help"]
    result = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    if command in ("improve", "pretrain"):  # any key of their config is an option
        return
    for line in starting("handeye"):
        words = shlex.split(line)
        if words[1] == command:
            for option in (word for word in words if word.startswith("--")):
                assert option in result.stdout, option
