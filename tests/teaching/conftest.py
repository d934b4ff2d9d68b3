"""Tasks of tests/games, declared in a folder of their own, which is the working one."""

import pytest

CATCH = "id: tests.games:Catch-v0\ninstruction: catch the ball\nsuccess: {of: reward, at_least: 1}\n"
DOCK = "id: tests.games:Dock-v0\ninstruction: dock at the ring\nsuccess: {of: reward, at_least: 1}\n"


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """Writes a task's file into the working folder, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def make(text, name="game.yaml"):
        (tmp_path / name).write_text(text)
        return name

    yield make
    from envs.declared import forget

    forget()  # the next test declares another task under the same name


@pytest.fixture
def catch(declare):
    """The file of Catch, with more lines."""
    return lambda more="", name="game.yaml": declare(CATCH + more, name)


@pytest.fixture
def dock(declare):
    """The file of Dock, with more lines."""
    return lambda more="", name="game.yaml": declare(DOCK + more, name)


@pytest.fixture
def handeye(declare, typed):
    """The command in the folder of the task's file."""
    return typed
