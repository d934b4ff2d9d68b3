"""The terminal's progress bar: a rollout moves it by episodes, a trainer by steps."""

from types import SimpleNamespace

import pytest
from rich.console import Console
from transformers import TrainerCallback

from agent.optimise import callbacks
from agent.optimise.callbacks import trainer_callback
from agent.record import console


@pytest.fixture
def shown(monkeypatch):
    """A wide console that keeps what it prints, as a log does."""
    kept = Console(record=True, width=160, force_terminal=False)
    for module in (console, callbacks):
        monkeypatch.setattr(module, "console", kept)
    return kept


def test_a_rollout_moves_it_episode_by_episode(shown, episode):
    with console.bar("reach", 3) as bar:
        bar.on_episode(episode([(1, 0)], ending="broken"))  # no failure
        bar.on_episode(episode([(1, 0)], success=True))
        bar.on_episode(episode([(1, 0)]))
    assert "reach" in (text := shown.export_text())
    assert "3/3" in text
    assert "50 % success" in text


def test_a_trainer_moves_it_step_by_step(shown):
    state = SimpleNamespace(max_steps=3, global_step=0)
    with console.bar("imitate (SFT)") as bar:
        callback = trainer_callback(bar)
        callback.on_train_begin(None, state, None)
        for state.global_step in (1, 2, 3):
            callback.on_step_end(None, state, None)
            if state.global_step == 2:
                callback.on_log(None, state, None, logs={"loss": 0.25})
                callback.on_log(None, state, None, logs={"train_runtime": 1.0})
    lines = shown.export_text().splitlines()
    assert "step 2 of 3: loss 0.250" in lines
    assert "3/3" in lines[-1]
    assert lines[-1].rstrip().endswith("loss 0.250")


def test_other_callbacks_are_the_trainers_own():
    listener = TrainerCallback()
    assert trainer_callback(listener) is listener


@pytest.mark.parametrize("name", ["[/b]", "tasks/[red].yaml", "[link=x]", "a\\[b"])
def test_names_are_printed_as_they_are(capsys, name):
    console.say(f"{name} broke")
    assert capsys.readouterr().out == f"{name} broke\n"
    with console.bar(name, 1) as bar:
        bar.at(1, name)
    assert name in capsys.readouterr().out
