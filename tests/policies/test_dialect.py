"""How a model is asked: terse prompts stay as they are; a conversation follows from task, language and codec."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from envs.observation import Observation
from envs.registry import TASKS
from envs.splits import seeds
from envs.starts import keys
from envs.suites.tabletop.env import GOALS
from policies import critic, prompt
from policies.action_codec import action_of, codec_for
from policies.backend import Request
from policies.backends import nano
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_template
from policies.backends.probe import next_token
from policies.backends.server.wire import Model
from policies.backends.settings import ModelSettings
from policies.backends.template import ChatTemplate
from policies.dialect import FIRST_EXAMPLE, TERSE, chat_for, dialect_for
from policies.forms import draw, in_words
from policies.mllm import MLLMPolicy

SEEN, ANSWER = "red cube 1 2; over 1 2 +1 +0", "blue cube 3 4; over 3 4 +2 +2; move +2 +2"
# Each language, each kind of action and of camera; those of Meta-World and LIBERO differ in their instruction alone.
FAMILIES = ("mw-reach", "mw-bin-picking", "libero-object-0", "libero-goal-0", "reach-light")
CHATTED = [
    name
    for name, task in TASKS.items()
    if task.is_installed()
    and not name.startswith(("mw-", "libero-"))
    and not any(tag.startswith("look-") for tag in task.tags)
] + [name for name in FAMILIES if TASKS[name].is_installed()]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
TEMPLATES = {"nano": nano.CHAT_TEMPLATE, "chatml": CHATML, "no system": NO_SYSTEM}


@pytest.fixture(scope="module", autouse=True)
def few_reserved():
    """Of each task fewer starts are looked up that examples stay away from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envs.starts.RESERVED", {"gate": 2, "heldout": 4, "final": 2})
        chat_for.cache_clear()
        yield
        chat_for.cache_clear()


def seen(n=1, instruction="reach the red cube", own="gripper 5 5"):
    return Observation(np.zeros((n, 8, 8, 3), np.uint8), instruction, own)


def text_of(messages):
    return [" ".join(part.get("text", "<image>") for part in message["content"]) for message in messages]


def rendered(kind):
    processor = nano.build_processor(("reach", "the", "red", "cube"))
    processor.chat_template = TEMPLATES[kind]
    return ChatTemplate(processor)


# terse -----------------------------------------------------------------------------------------------------------
def test_terse_prompts_stay_as_the_embedded_policy_learned_them():
    image, one, two = {"type": "image"}, seen(), seen(2)

    def asked(text, n=1):
        return [{"role": "user", "content": [*[image] * n, {"type": "text", "text": text}]}]

    assert TERSE.act(two) == asked("reach the red cube. gripper 5 5", 2)
    assert TERSE.act(seen(own="")) == asked("reach the red cube")
    assert TERSE.critic_prefix(one, SEEN) == asked(f"reach the red cube. gripper 5 5. {SEEN}")
    assert TERSE.judge(one, SEEN, ANSWER) == asked(f"reach the red cube. gripper 5 5. {SEEN}; move +2 +2. good?")
    assert TERSE.judge(one, "", "move left") == asked("reach the red cube. gripper 5 5. move left. good?")
    assert TERSE.revise(one, ANSWER, "move -1 +0 -3 -2; no") == asked(
        f"reach the red cube. gripper 5 5. {ANSWER}. move -1 +0 -3 -2; no"
    )
    assert TERSE.done(two) == asked("reach the red cube. gripper 5 5. done?", 2)
    assert TERSE.ask("where is the red cube", 1) == asked("where is the red cube")


def test_the_dialect_of_the_embedded_policy_is_terse_and_of_others_a_conversation():
    task, settings = TASKS["reach"], ModelSettings()
    embedded = load_template("policies/seed", settings)
    assert dialect_for(settings, embedded, task) is TERSE
    assert dialect_for(settings, rendered("nano"), task) is TERSE
    assert dialect_for(settings, rendered("chatml"), task) == chat_for(task, 3)
    assert dialect_for(settings, Model("served"), task) == chat_for(task, 3)
    assert dialect_for(settings, Model("ours", is_embedded=True), task) is TERSE
    assert dialect_for(replace(settings, dialect="terse"), rendered("chatml"), task) is TERSE
    assert dialect_for(replace(settings, dialect="chat", examples=0), embedded, task) == chat_for(task, 0)
    assert dialect_for(settings, rendered("no system"), task) == chat_for(task, 3, system=False)


# a conversation --------------------------------------------------------------------------------------------------
def accepted(form):
    """A form in words as a regex."""
    parts = []
    for part in re.split(r"(<[^<>]*>|\[|\])", form):
        if run := re.fullmatch(r"<([+-]?\d+)\.\.([+-]?\d+)>", part):
            sign = "+d" if run[2].startswith("+") else "d"
            words = [format(k, sign) for k in range(int(run[1]), int(run[2]) + 1)]
        else:
            words = part.strip("<>").split("|") if part.startswith("<") else [part]
        parts.append({"[": "(", "]": ")?"}.get(part) or f"({'|'.join(map(re.escape, words))})")
    return re.compile("".join(parts))


@pytest.fixture(scope="module", params=CHATTED)
def spoken(request):
    """A task and its conversation."""
    task = TASKS[request.param]
    return task, chat_for(task, 2)


def test_a_conversation_says_what_its_words_mean(spoken):
    task, chat = spoken
    told = text_of(chat.act(seen()))[0]
    assert task.language.legend
    assert all(line in told for line in task.language.legend)
    assert in_words(codec_for(task).regex) in told
    assert len(told) < 3000


def test_its_form_accepts_what_the_codec_says(spoken):
    codec, rng = codec_for(spoken[0]), np.random.default_rng(0)
    for regex in (codec.regex, codec.action.instead_regex):
        form = accepted(in_words(regex))
        for text in [draw(regex, rng).replace(" -0", " +0") for _ in range(20)]:  # no way is said as -0
            assert form.fullmatch(text)
            assert not form.fullmatch(f"{text}0x")
    for text in [draw(codec.regex, rng) for _ in range(20)]:
        assert codec.encode(*codec.decode(text)) == text


def test_its_examples_parse(spoken):
    task, chat = spoken
    assert len(chat.examples) == 2
    for asked, answer in chat.examples:
        assert asked.startswith("Task: ")
        codec_for(task).decode(answer)


@pytest.mark.parametrize("frames", [1, 4])
def test_its_roles_alternate_and_every_frame_has_a_place(spoken, frames):
    for chat in (spoken[1], replace(spoken[1], system=False)):
        o, answer = seen(frames), spoken[1].examples[0][1]
        asked = [chat.act(o), chat.judge(o, "", answer), chat.revise(o, answer, "move; no"), chat.done(o)]
        for messages in [*asked, chat.ask("describe", frames)]:
            roles = [message["role"] for message in messages]
            assert ("system" in roles) == chat.system
            assert all(one != other for one, other in pairwise(roles))
            assert roles[-1] == "user"
            assert [part["type"] for m in messages for part in m["content"]].count("image") == frames
            assert messages[0]["content"][-1]["text"].startswith("You are shown")


def test_what_instead_says_matches_its_grammar(spoken):
    codec, rng = codec_for(spoken[0]), np.random.default_rng(1)
    for _ in range(9):
        said = codec.action.instead(*(draw(codec.action.regex, rng) for _ in range(2)))
        assert re.fullmatch(codec.action.instead_regex, said)


def test_every_task_has_a_legend():
    assert [name for name, task in TASKS.items() if not task.language.legend] == []


def test_examples_are_the_same_each_time_and_their_actions_differ():
    task = TASKS["frozen-lake"]
    again = chat_for.__wrapped__(task, 2)
    assert again == chat_for(task, 2)
    assert len({action_of(answer) for _, answer in again.examples}) == 2


def test_a_held_out_task_shows_demonstrations_of_the_practised_one_or_none():
    assert chat_for(TASKS["reach-heldout"], 3).examples == chat_for(TASKS["reach"], 3).examples
    assert chat_for(TASKS["frozen-lake-heldout"], 3).examples == chat_for(TASKS["frozen-lake"], 3).examples
    for asked, answer in chat_for(TASKS["lift-heldout"], 3).examples:
        assert asked.partition("\n")[0].removeprefix("Task: lift the ") in GOALS["practice"]
        assert " ".join(answer.split()[:2]) in GOALS["practice"]
    assert "answers are random" in text_of(chat_for(TASKS["half-cheetah"], 3).act(seen()))[0]
    assert "answers are random" not in text_of(chat_for(TASKS["reach-heldout"], 3).act(seen()))[0]


def test_no_example_comes_from_a_start_that_is_reserved_for_evaluation(monkeypatch):
    """CliffWalking has one start: nothing can be demonstrated there."""
    told = text_of(chat_for(TASKS["cliff-walking"], 2).act(seen()))[0]
    assert "answers are random" in told
    lake, first = TASKS["frozen-lake"], seeds("practice", 1, FIRST_EXAMPLE)
    before = chat_for(lake, 1).examples
    monkeypatch.setattr("policies.dialect.reserved", lambda task: keys(task, first))
    assert chat_for.__wrapped__(lake, 1).examples != before


def test_a_composed_example_follows_from_its_thought(toy_task):
    """Without an expert a language still says what its thoughts call for."""
    alone = replace(TASKS["reach"], name="alone", teacher=toy_task().teacher)
    examples = chat_for(alone, 3).examples
    for asked, answer in examples:
        thought, own = answer.rpartition("; ")[0], asked.partition("Known: ")[2]
        assert alone.language.derive(thought, own) == thought
        assert codec_for(alone).encode(thought, alone.language.called_for(thought, own)) == answer
    assert examples != chat_for(TASKS["reach"], 3).examples


# rendered --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("name", ["reach", "half-cheetah"])
def test_later_turns_begin_with_the_words_of_the_first(kind, name):
    template = rendered(kind)
    chat, o = chat_for(TASKS[name], 1, template.system), seen(2)
    answer = chat.examples[0][1]
    messages = chat.act(o)
    first = template.prompt(messages)
    words = first[: template.end_of_words(first, messages)]
    assert words.endswith("Known: gripper 5 5")
    prefix = template.prompt(chat.critic_prefix(o, answer.rpartition("; ")[0]))
    assert prefix.startswith(words)
    later = [chat.judge(o, SEEN, answer), chat.revise(o, answer, "move; no"), chat.done(o)]
    assert all(template.prompt(some).startswith(words) for some in later)
    assert len({template.prompt(some) for some in later}) == 3


# asked -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def chat():
    return chat_for(TASKS["reach"], 1)


@pytest.fixture(scope="module")
def chatty(chat):
    """The embedded model with random weights, the words of the conversation, and room for it."""
    texts = " ".join(text_of(chat.revise(seen(), ANSWER, "no")))
    known = dict.fromkeys(re.findall(r"[+-]?\w+|[^\w\s]", texts))
    model, processor = nano.build((*known, *map(str, range(32)), *prompt.WORDS, *critic.VERDICTS), seed=0)
    model.config.text_config.max_position_embeddings = 4096
    return HFBackend(model, processor, ModelSettings(dialect="chat"))


def test_a_policy_proposes_judges_and_revises_in_a_conversation(chatty, chat):
    codec = codec_for(TASKS["reach"])
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64, 3), dtype=np.uint8)
    observations = [
        Observation(f, f"reach the {colour} cube", "gripper 5 5")
        for f, colour in zip(frames, ("red", "blue"), strict=True)
    ]
    policy = MLLMPolicy(chatty, codec, proposals=3, revisions=1, threshold=1.0, dialect=chat)
    decisions = policy.act(observations, [np.random.default_rng([0, i]) for i in range(2)])
    for o, decision in zip(observations, decisions, strict=True):
        assert len(decision.proposals) == 4
        assert all(codec.decode(answer)[1].shape == (2,) for answer, _ in decision.proposals)
        assert re.fullmatch(codec.action.instead_regex, decision.critique)
        (alone,) = critic.judge(chatty, codec, [o], [decision.answer], dialect=chat)
        assert (alone.verdict, alone.reason) == (pytest.approx(decision.verdict, abs=2e-4), decision.critique)


def test_a_conversation_shares_what_was_read(chatty, chat):
    o = replace(seen(), frames=np.zeros((1, 64, 64, 3), np.uint8))
    questions = [[chat.judge(o, SEEN, "move +1 +1"), chat.judge(o, SEEN, "move +2 -1")]]
    prefilled = chatty.prefill([Request(o.frames, chat.act(o))])
    texts = [chatty.template.prompt(m) for m in questions[0]]
    tails = prefilled._tails([0, 0], [Request(o.frames, m) for m in questions[0]], texts)
    assert all(tail.tokens is not None for tail in tails)
    whole = chatty.prefill([Request(o.frames, m) for m in questions[0]])
    np.testing.assert_allclose(next_token(prefilled.extend(questions)), next_token(whole), atol=1e-5)


def test_the_mass_of_a_form_is_the_probability_of_what_it_allows(chatty, chat):
    o = replace(seen(), frames=np.zeros((1, 64, 64, 3), np.uint8))
    prefilled = chatty.prefill([Request(o.frames, chat.act(o)), Request(o.frames, chat.done(o))])
    tokens = [token for (token,) in chatty.reader.tokens(["y", "n"])]
    either = next_token(prefilled)[:, tokens].sum(dim=1)
    np.testing.assert_allclose(prefilled.form_mass("(y|n)"), either.log(), rtol=1e-5)
    assert (prefilled.form_mass("(y|n)(y|n)") < prefilled.form_mass("(y|n)")).all()
