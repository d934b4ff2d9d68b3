"""Rows of the chat dialect, with a system message, example turns and more frames, train by SFT and by DPO."""

import re
from dataclasses import replace

import numpy as np
import pytest

from agent.config import Tie
from agent.optimise.dpo import train_dpo
from agent.optimise.pretrain import demonstrations
from agent.optimise.sft import train_sft
from agent.organise.critiques import answer_critiques, contrasts, end_critiques, endings
from agent.organise.outcome import Outcome
from agent.organise.pairs import pairs
from agent.organise.rows import Example, Pair
from agent.organise.selection import examples
from envs.registry import TASKS
from policies import critic
from policies.action_codec import codec_for
from policies.backends import nano
from policies.backends.huggingface import HFBackend
from policies.dialect import chat_for

TASK = TASKS["frozen-lake"]
ONE_STEP = {"max_steps": 1, "per_device_train_batch_size": 3, "learning_rate": 1e-3, "use_cpu": True}


@pytest.fixture(scope="module")
def chat():
    return chat_for(TASK, 1)


@pytest.fixture
def chatty(chat):
    """The embedded model with random weights, the words of the conversation, and room for it."""
    known = dict.fromkeys(re.findall(r"[+-]?\w+|[^\w\s]", f"{chat} user assistant system"))
    model, processor = nano.build((*known, *critic.VERDICTS), seed=0)
    model.config.text_config.max_position_embeddings = 4096
    return HFBackend(model, processor)


def rows(chat):
    """Of one and of two frames, of one turn and of several."""
    shown = list(demonstrations(TASK, codec_for(TASK), [0], dialect=chat))
    o = TASK.observe(reset(TASK))
    end = o.since(o)
    answer = chat.examples[0][1]
    said = critic.critique(codec_for(TASK).instead(answer, answer), True)
    return [
        shown[0],
        Example(end.frames, chat.done(end), "yes"),
        Example(o.frames, chat.judge(o, answer.rpartition("; ")[0], answer), said),
    ]


def reset(task):
    env = task.make()
    env.reset(seed=1)
    return env


@pytest.mark.parametrize("system", [True, False])
def test_sft_learns_from_conversations(chatty, chat, tmp_path, system):
    before = {name: p.clone() for name, p in chatty.model.named_parameters()}
    some = rows(replace(chat, system=system))
    metrics = train_sft(chatty.model, chatty.processor, some, tmp_path, ONE_STEP)
    assert 0 < metrics["train_loss"] < 20
    assert any(not p.equal(before[name]) for name, p in chatty.model.named_parameters())


def test_dpo_learns_from_conversations(chatty, chat, tmp_path):
    reference = nano.build_model(chatty.processor, seed=0)
    made = [Pair(e.frames, e.prompt, e.answer, "move up", Outcome(1.0, 0.0)) for e in rows(chat)]
    metrics = train_dpo(chatty.model, reference, chatty.processor, made, tmp_path, ONE_STEP)
    assert metrics["train_loss"] == pytest.approx(np.log(2), abs=1e-4)  # the first rewards are 0


def test_rows_are_asked_as_the_policy_is(episode):
    """Every maker of rows takes the dialect, by the name of the task."""
    attempts = [episode([(1, 0)], True), episode([(-1, 0)], attempt=1)]
    asked, rng = [], np.random.default_rng(0)

    def dialect(name):
        asked.append(name)
        return chat_for(TASKS[name], 1)

    o, chat = attempts[0].steps[0].observation, chat_for(TASKS["toy"], 1)
    one = Tie(), None, rng
    assert answer_critiques(attempts, 9, *one, dialect)[0].prompt[:-2] == chat.act(o)
    assert end_critiques(endings(attempts), 9, rng, dialect)[0].prompt[0] == chat.act(o)[0]
    assert contrasts(attempts[:1], 9, rng, dialect)[0].prompt[: len(chat.act(o))] == chat.act(o)
    assert [e.prompt for e in examples(attempts[:1], dialect)] == [chat.act(o)]
    assert pairs(attempts, Tie(), 9, dialect=dialect)[0].prompt == chat.act(o)
    assert set(asked) == {"toy"}
