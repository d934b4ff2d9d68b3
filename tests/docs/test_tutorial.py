"""The tutorial is executed: its commands in their order, in a folder of their own, and what is shown was printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from reading import FENCED, ROOT

BLOCKS = FENCED.findall((ROOT / "docs" / "tutorial.md").read_text())
SECONDS = 600  # of a block, on a busy machine


def skeleton(line: str) -> str:
    """A printed line without what differs from machine to machine: numbers, bars, spaces, and how an episode or a gate
    ended."""
    return re.sub(r"[^a-z:]+", " ", re.sub(r"\b(yes|no|success|failure)\b", "", line.lower())).strip()


def shown(block: str) -> list[str]:
    return [line for line in map(skeleton, block.splitlines()) if line]


@pytest.fixture
def shell(tmp_path):
    """Runs a block as typed in a shell, `handeye` being this repository's; what it printed."""
    programs = tmp_path / "programs"
    programs.mkdir()
    handeye = programs / "handeye"
    handeye.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -m agent.cli "$@"\n')
    handeye.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def run(block: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


@pytest.mark.slow
def test_the_tutorial_runs_and_prints_what_it_shows(shell):
    printed, languages = "", {language for language, _ in BLOCKS}
    assert languages == {"bash", "text"}
    for language, block in BLOCKS:
        if language == "bash":
            printed = shell(block)
        else:
            lines = {skeleton(line) for line in printed.splitlines()}
            assert [line for line in shown(block) if line not in lines] == []
    for name in ("reach.png", "before_after.png", "runs/first/results.json", "runs/first/report.html"):
        assert (shell.folder / Path(name)).stat().st_size > 0
