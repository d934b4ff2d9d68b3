"""Constrained generation: answers always parse, depend on their own seed alone, and follow the softmax."""

import re

import numpy as np
import pytest
import torch
from scipy import stats

from envs.errors import UserError
from envs.observation import Observation
from envs.registry import TASKS
from envs.suites.tabletop.scene import OBJECTS
from policies import critic, prompt
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backends import nano, prefilled
from policies.backends.decoding import Constraint, GumbelNoise
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_backend
from policies.mllm import MLLMPolicy

N = 40  # more than one block of rows


@pytest.fixture(scope="module", params=["reach", "push"])
def chosen(request):
    return TASKS[request.param]


@pytest.fixture(scope="module")
def codec(chosen):
    return codec_for(chosen)


@pytest.fixture(scope="module")
def requests_(chosen):
    env, result = chosen.make(), []
    for seed in range(N):
        env.reset(seed=seed)
        observation = chosen.observe(env)
        result.append(Request(observation.frames, prompt.act(observation)))
    env.close()
    return result


@pytest.mark.parametrize("temperature", [0, 1, 5])
def test_every_answer_parses(backend, codec, requests_, temperature):
    answers = backend.generate(requests_, codec.regex, temperature, range(N))
    assert len(answers) == N
    for answer in answers:
        assert re.fullmatch(codec.regex, answer)
        assert codec.action.space.contains(codec.decode(answer)[1])


@pytest.mark.parametrize("temperature", [0, 1])
def test_an_answer_does_not_depend_on_the_batch(backend, codec, requests_, temperature):
    together = backend.generate(requests_, codec.regex, temperature, range(N))
    order = np.random.default_rng(0).permutation(N)
    shuffled = backend.generate([requests_[i] for i in order], codec.regex, temperature, [int(i) for i in order])
    assert [shuffled[list(order).index(i)] for i in range(N)] == together
    for i in (0, 17, N - 1):
        assert backend.generate([requests_[i]], codec.regex, temperature, [i]) == [together[i]]


def test_odds_do_not_depend_on_the_batch(backend, requests_):
    texts, others = ([f"move {i % 5:+d} +{k}; yes" for i in range(N)] for k in (1, 2))
    together = backend.prefill(requests_).odds(texts, others)
    order = np.random.default_rng(0).permutation(N)
    shuffled = backend.prefill([requests_[i] for i in order]).odds(
        [texts[i] for i in order], [others[i] for i in order]
    )
    np.testing.assert_allclose(shuffled, together[order], rtol=1e-4)  # a row's place in the batch: last bits
    np.testing.assert_allclose(backend.prefill(requests_[5:6]).odds(texts[5:6], others[5:6]), together[5:6], rtol=1e-4)
    np.testing.assert_allclose(backend.prefill(requests_).odds(others, texts), 1 - together, rtol=1e-4)


class EndsWhenTold(Constraint):
    """Asks the model for the end token of each answer, as `xgrammar.contrib.hf` does."""

    def _only_stops(self, rows):
        return [False] * len(rows)


@pytest.mark.parametrize(
    ("regex", "certain"),
    [("(yes|no)", True), ("no(; no)?", False), ("[+-][12]{1,3}", False), ("move (a|ab|abc)", False)],
)
def test_the_model_is_asked_for_no_end_that_is_certain(backend, requests_, monkeypatch, regex, certain):
    steps = []
    for constraint in (Constraint, EndsWhenTold):
        monkeypatch.setattr(prefilled, "Constraint", constraint)
        passes = []
        hook = backend.model.register_forward_hook(lambda *_: passes.append(1))  # noqa: B023
        answers = backend.generate(requests_[:32], regex, 1, range(32))
        hook.remove()
        steps.append((answers, len(passes)))
    (early, few), (late, more) = steps
    assert early == late
    assert all(re.fullmatch(regex, answer) for answer in early)
    assert few == more - 1 if certain else few <= more


def test_seeds_decide_what_is_sampled(backend, codec, requests_):
    same = [requests_[0]] * 12
    once = backend.generate(same, codec.regex, 1, range(12))
    assert backend.generate(same, codec.regex, 1, range(12)) == once
    assert len(set(once)) > 6
    assert len(set(backend.generate(same, codec.regex, 1, [3] * 12))) == 1


def test_greedy_answers_do_not_depend_on_seeds(backend, codec, requests_):
    some = requests_[:4]
    assert backend.generate(some, codec.regex, 0, range(4)) == backend.generate(some, codec.regex, 0, range(4, 8))


def test_a_lower_temperature_is_closer_to_greedy(backend, codec, requests_):
    greedy = backend.generate(requests_, codec.regex, 0, range(N))

    def agreement(temperature):
        answers = backend.generate(requests_, codec.regex, temperature, range(N))
        return sum(a == b for a, b in zip(answers, greedy, strict=True))

    assert agreement(1e-3) > 0.8 * N
    assert agreement(1) < 0.2 * N


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gumbel_noise_draws_from_the_softmax(temperature):
    n, logits = 20_000, torch.tensor([1.0, 0.0, -1.0, 2.0, -torch.inf])
    drawn = GumbelNoise(range(n), [temperature] * n)(logits.repeat(n, 1)).argmax(dim=1)
    counts = np.bincount(drawn, minlength=5)
    expected = n * torch.softmax(logits.double() / temperature, dim=0).numpy()
    assert counts[4] == 0  # what the grammar forbids stays forbidden
    assert stats.chisquare(counts[:4], expected[:4]).pvalue > 0.001


def test_gumbel_noise_is_drawn_anew_for_each_token():
    noise = GumbelNoise(range(2000), [1.0] * 2000)
    first, second = (noise(torch.zeros(2000, 2)).argmax(dim=1).numpy() for _ in range(2))
    assert 0.45 < (first == second).mean() < 0.55


def test_a_seed_knows_its_goal_from_another_by_the_odds(requests_):
    prefilled = load_backend("policies/seed").prefill(requests_[:4])
    goals = [" ".join(r.messages[0]["content"][-1]["text"].split()[2:4]).rstrip(".") for r in requests_[:4]]
    others = [next(name for name in OBJECTS if name != goal) for goal in goals]
    assert min(prefilled.odds(goals, others)) > 0.99


@pytest.mark.parametrize("reason", ["", "move +1 -2 +0 +0; "])
def test_odds_are_the_models_own(backend, requests_, reason):
    """Against a plain forward pass of one prompt, without padding or blocks."""
    from PIL import Image

    request, processor = requests_[0], backend.processor
    chat = processor.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
    tails = [processor.tokenizer(reason + word)["input_ids"] for word in ("yes", "no")]
    images = [[Image.fromarray(request.frames[0])]]
    said = processor.tokenizer.decode(tails[0][:-1])
    inputs = processor(text=[chat + said], images=images, return_tensors="pt")
    with torch.inference_mode():
        expected = torch.softmax(backend.model(**inputs).logits[0, -1, [t[-1] for t in tails]].double(), dim=0)
    asked = [reason + "yes", "yes"], [reason + "no", "no"]  # longer and shorter ones together
    np.testing.assert_allclose(backend.prefill([request] * 2).odds(*asked)[0], expected[0], atol=1e-4)


@pytest.mark.parametrize(("text", "other"), [("yes", "yes"), ("move", "move +1"), ("", "no")])
def test_texts_that_do_not_part_have_no_odds(backend, requests_, text, other):
    with pytest.raises(UserError, match=f"{text!r} and {re.escape(repr(other))} do not part; valid: two texts"):
        backend.prefill(requests_[:1]).odds([text], [other])


def test_prompts_of_different_lengths_share_a_call(backend, codec, requests_):
    longer = Request(requests_[1].frames, prompt.user("reach the red cube. " * 6))
    mixed = backend.generate([requests_[0], longer, requests_[2]], codec.regex, 1, [0, 1, 2])
    alone = [backend.generate([r], codec.regex, 1, [i])[0] for i, r in enumerate((requests_[0], longer, requests_[2]))]
    assert mixed == alone


def test_prompts_that_share_a_call_of_the_processor_are_read_as_alone(backend):
    rng, words = np.random.default_rng(0), ("push the red cube", "reach", "push the red cube to the green pad")
    shapes = [(1, 64, 64), (2, 64, 64), (1, 64, 64), (1, 48, 48), (2, 64, 64), (0, 64, 64), (0, 64, 64), (1, 64, 64)]
    frames = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    requests = [Request(f, prompt.user(words[i % 3], len(f))) for i, f in enumerate(frames)]
    texts = [backend.template.prompt(r.messages) for r in requests]
    for together, request, text in zip(backend.reader.read_each(requests, texts), requests, texts, strict=True):
        alone = backend.reader.read(request, text)
        torch.testing.assert_close(vars(together), vars(alone), rtol=0, atol=0)


def test_a_loaded_backend_answers_alike(backend, codec, requests_, tmp_path):
    backend.save(tmp_path)
    again = load_backend(tmp_path)
    assert again.generate(requests_, codec.regex, 1, range(N)) == backend.generate(requests_, codec.regex, 1, range(N))


# looking once ----------------------------------------------------------------------------------------------------
TEMPERATURES = (0.0, 0.7, 1.0)


@pytest.fixture(scope="module")
def prefilled_once(backend, codec, requests_):
    """A prefilled batch, three answers to each of its prompts, and the critic's questions about these."""
    prefilled = backend.prefill(requests_)
    seeds = [range(10 * i, 10 * i + 3) for i in range(N)]
    answers = prefilled.generate(codec.regex, TEMPERATURES, seeds)
    return prefilled, answers, [[question(r, a) for a in some] for r, some in zip(requests_, answers, strict=True)]


def question(request, answer):
    return prompt.user(f"{request.messages[0]['content'][-1]['text']}. {answer}. good?")


def verdicts(answers):
    return ([f"{a.rpartition('; ')[2]}; {word}" for some in answers for a in some] for word in ("yes", "no"))


def test_questions_that_follow_are_answered_as_if_they_were_asked_at_once(backend, codec, requests_, prefilled_once):
    prefilled, answers, questions = prefilled_once
    for k, temperature in enumerate(TEMPERATURES):
        drawn = backend.generate(requests_, codec.regex, temperature, [10 * i + k for i in range(N)])
        assert drawn == [some[k] for some in answers]
    asked, regex = prefilled.extend(questions), f"{codec.action.regex}; (yes|no)"
    alone = backend.prefill([Request(r.frames, q) for r, some in zip(requests_, questions, strict=True) for q in some])
    seeds = [[i] for i in range(3 * N)]
    same = [
        a == b for a, b in zip(asked.generate(regex, [1.0], seeds), alone.generate(regex, [1.0], seeds), strict=True)
    ]
    assert np.mean(same) > 0.97  # sums in another order may change a last bit, and that a word
    np.testing.assert_allclose(asked.odds(*verdicts(answers)), alone.odds(*verdicts(answers)), rtol=1e-3)


def test_what_follows_one_prefill_does_not_depend_on_the_batch(backend, codec, requests_, prefilled_once):
    prefilled, answers, questions = prefilled_once
    odds = prefilled.extend(questions).odds(*verdicts(answers)).reshape(N, 3)
    reasons = prefilled.extend(questions).generate(codec.action.regex, [0.0], [[0]] * 3 * N)
    for some in ([5], [17, 3, N - 1]):
        fewer = backend.prefill([requests_[i] for i in some])
        assert fewer.generate(codec.regex, TEMPERATURES, [range(10 * i, 10 * i + 3) for i in some]) == [
            answers[i] for i in some
        ]
        asked = fewer.extend([questions[i] for i in some])
        again = asked.odds(*verdicts([answers[i] for i in some])).reshape(-1, 3)
        np.testing.assert_allclose(again, odds[some], rtol=1e-3)
        assert asked.generate(codec.action.regex, [0.0], [[0]] * 3 * len(some)) == [
            reason for i in some for reason in reasons[3 * i : 3 * i + 3]
        ]


def test_questions_may_share_how_they_begin(backend, codec, requests_, prefilled_once):
    prefilled, answers, _ = prefilled_once
    shared = [[prompt.user(r.messages[0]["content"][-1]["text"] + ". red cube 1 2")] for r in requests_]
    longer = [
        [prompt.user(some[0][0]["content"][-1]["text"] + f"; {a.rpartition('; ')[2]}. good?") for a in said]
        for some, said in zip(shared, answers, strict=True)
    ]
    at_once, in_turn = prefilled.extend(longer), prefilled.extend(shared).extend(longer)
    np.testing.assert_allclose(in_turn.odds(*verdicts(answers)), at_once.odds(*verdicts(answers)), rtol=1e-3)


def test_some_prompts_may_be_followed_by_more_questions_than_others(prefilled_once):
    prefilled, answers, questions = prefilled_once
    numbers = [i % 4 for i in range(N)]
    fewer, said = ([some[:n] for some, n in zip(every, numbers, strict=True)] for every in (questions, answers))
    every = prefilled.extend(questions).odds(*verdicts(answers)).reshape(N, 3)
    expected = np.concatenate([row[:n] for row, n in zip(every, numbers, strict=True)])
    for last in (False, True):
        np.testing.assert_allclose(prefilled.extend(fewer, last).odds(*verdicts(said)), expected, rtol=1e-3)


def test_a_prefilled_batch_can_be_used_again(codec, prefilled_once):
    prefilled, answers, _ = prefilled_once
    assert prefilled.generate(codec.regex, TEMPERATURES, [range(10 * i, 10 * i + 3) for i in range(N)]) == answers


# a chat model that never saw our questions -----------------------------------------------------------------------
CHAT_TEMPLATE = (
    "<s>System: You move a gripper.<end_of_utterance>\n"
    "{% for message in messages %}{{ message['role'].capitalize() }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@pytest.mark.slow
def test_a_chat_model_criticises_itself_in_plain_text(codec, requests_):
    """It has another chat template, and a tokenizer that splits our words, `yes` and `no` too."""
    processor = nano.build_processor(())
    processor.chat_template = CHAT_TEMPLATE
    backend = HFBackend(nano.build_model(processor, 0), processor)
    observations = [Observation(r.frames, *r.messages[0]["content"][-1]["text"].split(". ", 1)) for r in requests_[:3]]
    policy = MLLMPolicy(backend, codec, proposals=3, revisions=1, threshold=1.0)
    decisions = policy.act(observations, [np.random.default_rng(i) for i in range(3)])
    for observation, decision in zip(observations, decisions, strict=True):
        verdicts = [verdict for _, verdict in decision.proposals]
        assert len(verdicts) == 4  # the fourth: once more, as none was perfect
        assert decision.verdict == max(verdicts) < 1
        (alone,) = critic.judge(backend, codec, [observation], [decision.answer])
        assert alone.verdict == pytest.approx(decision.verdict, abs=2e-4)
        assert alone.reason == decision.critique
        codec.instead(decision.answer, " ".join(decision.critique.split()[:3]))  # parses
