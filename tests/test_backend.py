"""Answers that always parse, that depend on their own seed alone, and that are drawn from the right distribution."""

import re

import numpy as np
import pytest
import torch
from scipy import stats

from envs.errors import UserError
from envs.registry import TASKS
from envs.tabletop.scene import OBJECTS
from policies import prompt
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backend_hf import GumbelNoise, HFBackend

N = 40  # more than one block of rows
MOVE = r"move [+-][0-4] [+-][0-4]"


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


def test_a_likelihood_does_not_depend_on_the_batch(backend, requests_):
    texts = [f"move {i % 5:+d} +1" for i in range(N)]
    together = backend.look(requests_).likelihood(texts, MOVE)
    order = np.random.default_rng(0).permutation(N)
    shuffled = backend.look([requests_[i] for i in order]).likelihood([texts[i] for i in order], MOVE)
    np.testing.assert_allclose(shuffled, together[order], rtol=1e-4)  # a row's place in the batch: last bits
    np.testing.assert_allclose(backend.look(requests_[5:6]).likelihood(texts[5:6], MOVE), together[5:6], rtol=1e-4)


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
    drawn = GumbelNoise(range(n), [temperature] * n)(None, logits.repeat(n, 1)).argmax(dim=1)
    counts = np.bincount(drawn, minlength=5)
    expected = n * torch.softmax(logits.double() / temperature, dim=0).numpy()
    assert counts[4] == 0  # what the grammar forbids stays forbidden
    assert stats.chisquare(counts[:4], expected[:4]).pvalue > 0.001


def test_gumbel_noise_is_drawn_anew_for_each_token():
    noise = GumbelNoise(range(2000), [1.0] * 2000)
    first, second = (noise(None, torch.zeros(2000, 2)).argmax(dim=1).numpy() for _ in range(2))
    assert 0.45 < (first == second).mean() < 0.55


def test_likelihoods_are_probabilities_of_all_that_the_regex_allows(codec, requests_):
    looked = HFBackend.load("policies/seed").look(requests_[:2])
    each = {name: looked.likelihood([name] * 2, codec.regex) for name in OBJECTS}
    np.testing.assert_allclose(sum(each.values()), 1, atol=1e-3)  # the rest is for the same words in other tokens
    goals = [" ".join(r.messages[0]["content"][-1]["text"].split()[2:4]).rstrip(".") for r in requests_[:2]]
    assert [max(each, key=lambda name: each[name][i]) for i in range(2)] == goals
    longer = looked.likelihood([f"{goals[0]} 20", goals[1]], codec.regex)  # longer and shorter ones together
    assert 0 < longer[0] < each[goals[0]][0]
    np.testing.assert_allclose(longer[1], each[goals[1]][1], rtol=1e-4)


def test_likelihoods_are_the_models_own(backend, requests_):
    """Against a plain forward pass of one prompt, without padding or blocks."""
    from PIL import Image

    request, processor = requests_[0], backend.processor
    chat = processor.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[chat], images=[[Image.fromarray(request.frames[0])]], return_tensors="pt")
    tokens = [processor.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")]
    with torch.inference_mode():
        expected = torch.softmax(backend.model(**inputs).logits[0, -1, tokens].double(), dim=0)
    likely = [backend.look([request]).likelihood([word], "(yes|no)")[0] for word in ("yes", "no")]
    np.testing.assert_allclose(likely / np.sum(likely), expected, atol=1e-4)  # random weights spell them out as well


def test_a_text_that_the_regex_forbids_is_refused(backend, requests_):
    with pytest.raises(UserError, match=r"text 'red cube' does not parse; valid: \(yes\|no\)"):
        backend.look(requests_[:1]).likelihood(["red cube"], "(yes|no)")


def test_prompts_of_different_lengths_share_a_call(backend, codec, requests_):
    longer = Request(requests_[1].frames, prompt.user("reach the red cube. " * 6))
    mixed = backend.generate([requests_[0], longer, requests_[2]], codec.regex, 1, [0, 1, 2])
    alone = [backend.generate([r], codec.regex, 1, [i])[0] for i, r in enumerate((requests_[0], longer, requests_[2]))]
    assert mixed == alone


def test_a_loaded_backend_answers_alike(backend, codec, requests_, tmp_path):
    backend.save(tmp_path)
    again = HFBackend.load(tmp_path)
    assert again.generate(requests_, codec.regex, 1, range(N)) == backend.generate(requests_, codec.regex, 1, range(N))


# looking once ----------------------------------------------------------------------------------------------------
TEMPERATURES = (0.0, 0.7, 1.0)


@pytest.fixture(scope="module")
def looked_at(backend, codec, requests_):
    """What was seen, three answers to each, and the questions about them."""
    looked = backend.look(requests_)
    seeds = [range(10 * i, 10 * i + 3) for i in range(N)]
    answers = looked.generate(codec.regex, TEMPERATURES, seeds)
    return looked, answers, [[question(r, a) for a in some] for r, some in zip(requests_, answers, strict=True)]


def question(request, answer):
    return prompt.user(f"{request.messages[0]['content'][-1]['text']}. {answer}. good?")


def praise(answers):
    return [a.rpartition("; ")[2] + "; yes" for some in answers for a in some]


def test_questions_that_follow_are_answered_as_if_they_were_asked_at_once(backend, codec, requests_, looked_at):
    looked, answers, questions = looked_at
    for k, temperature in enumerate(TEMPERATURES):
        drawn = backend.generate(requests_, codec.regex, temperature, [10 * i + k for i in range(N)])
        assert drawn == [some[k] for some in answers]
    asked, regex = looked.then(questions), f"{codec.action.regex}; (yes|no)"
    alone = backend.look([Request(r.frames, q) for r, some in zip(requests_, questions, strict=True) for q in some])
    seeds = [[i] for i in range(3 * N)]
    same = [
        a == b for a, b in zip(asked.generate(regex, [1.0], seeds), alone.generate(regex, [1.0], seeds), strict=True)
    ]
    assert np.mean(same) > 0.97  # sums in another order may change a last bit, and that a word
    np.testing.assert_allclose(
        asked.likelihood(praise(answers), regex), alone.likelihood(praise(answers), regex), rtol=1e-3
    )


def test_what_follows_one_look_does_not_depend_on_the_batch(backend, codec, requests_, looked_at):
    looked, answers, questions = looked_at
    regex = f"{codec.action.regex}; (yes|no)"
    likely = looked.then(questions).likelihood(praise(answers), regex).reshape(N, 3)
    reasons = looked.then(questions).generate(codec.action.regex, [0.0], [[0]] * 3 * N)
    for some in ([5], [17, 3, N - 1]):
        fewer = backend.look([requests_[i] for i in some])
        assert fewer.generate(codec.regex, TEMPERATURES, [range(10 * i, 10 * i + 3) for i in some]) == [
            answers[i] for i in some
        ]
        asked = fewer.then([questions[i] for i in some])
        again = asked.likelihood(praise([answers[i] for i in some]), regex).reshape(-1, 3)
        np.testing.assert_allclose(again, likely[some], rtol=1e-3)
        assert asked.generate(codec.action.regex, [0.0], [[0]] * 3 * len(some)) == [
            reason for i in some for reason in reasons[3 * i : 3 * i + 3]
        ]


def test_a_look_can_be_asked_again(codec, looked_at):
    looked, answers, _ = looked_at
    assert looked.generate(codec.regex, TEMPERATURES, [range(10 * i, 10 * i + 3) for i in range(N)]) == answers
