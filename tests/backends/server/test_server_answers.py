"""The answers of a policy behind a server, over real HTTP, are those of the policy in process."""

import numpy as np
import pytest

from agent.collect.play import play
from agent.serve.app import app
from agent.serve.limits import Limits
from envs.registry import TASKS
from policies import prompt
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backends.loading import load_backend
from policies.backends.server.address import parse
from policies.backends.server.backend import ServerBackend
from policies.backends.settings import ModelSettings
from policies.mllm import MLLMPolicy
from policies.threads import one_thread

N = 64
TASK = TASKS["push"]


@pytest.fixture(scope="module")
def observations():
    env, result = TASK.make(), []
    for seed in range(N):
        env.reset(seed=seed)
        result.append(TASK.observe(env))
    env.close()
    return result


@pytest.fixture(scope="module")
def requests_(observations):
    return [Request(o.frames, prompt.act(o)) for o in observations]


@pytest.fixture(scope="module")
def codec():
    return codec_for(TASK)


@pytest.fixture(scope="module")
def remote(served):
    return ServerBackend.connect(parse(served))


@pytest.mark.parametrize(("temperature", "n"), [(0, N), (1, 16)])
def test_all_answers_are_those_in_process(backend, remote, codec, requests_, temperature, n):
    with one_thread():
        expected = backend.generate(requests_[:n], codec.regex, temperature, range(n))
    assert remote.generate(requests_[:n], codec.regex, temperature, range(n)) == expected


def test_samples_are_those_of_their_seeds(backend, remote, codec, requests_):
    temperatures, seeds = [0.0, 0.7, 0.7, 0.7, 1.0], [[9, *range(i, i + 3), 5] for i in range(8)]
    with one_thread():
        expected = backend.prefill(requests_[:8]).generate(codec.regex, temperatures, seeds)
    assert remote.prefill(requests_[:8]).generate(codec.regex, temperatures, seeds) == expected
    assert len({answer for some in expected for answer in some[1:]}) > 8


@pytest.mark.parametrize("reason", ["", "move +1 -2; "])
def test_odds_are_those_in_process(backend, remote, requests_, reason):
    texts, others = ([f"{reason}{word}" for _ in range(16)] for word in ("yes", "no"))
    texts[3], others[3] = "push the red cube", "push the blue cube"
    with one_thread():
        expected = backend.prefill(requests_[:16]).odds(texts, others)
    np.testing.assert_allclose(remote.prefill(requests_[:16]).odds(texts, others), expected, atol=1e-4)


def test_longer_prompts_are_answered_as_in_process(backend, remote, codec, requests_):
    longer = [
        [prompt.user(f"{r.messages[0]['content'][-1]['text']}. move +{k} +0. good?") for k in range(i % 3)]
        for i, r in enumerate(requests_[:6])
    ]
    answers = []
    for one in (backend, remote):
        with one_thread():
            extended = one.prefill(requests_[:6]).extend(longer, last=True)
            answers.append(extended.generate(codec.action.regex, [0.0], [[0]] * 6))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 6


def test_a_policy_decides_as_in_process(backend, remote, codec, observations):
    """Proposals, verdicts and a revision."""
    decided = []
    for one in (backend, remote):
        policy = MLLMPolicy(one, codec, proposals=3, revisions=1, threshold=1.0)
        with one_thread():
            decided.append(policy.act(observations[:4], [np.random.default_rng(i) for i in range(4)]))
    for here, there in zip(*decided, strict=True):
        assert (there.answer, there.critique) == (here.answer, here.critique)
        assert there.verdict == pytest.approx(here.verdict, abs=1e-4)


def test_a_served_policy_is_asked_as_the_server_says(listening, nano_checkpoint):
    """As in process, where the settings of its training are read off its folder."""
    served = load_backend(nano_checkpoint, ModelSettings(dialect="chat", examples=1, image_size=96))
    with listening(app(served, served.processor.tokenizer, "nano", Limits())) as url:

        def asked(**settings):
            found = ServerBackend.connect(parse(f"{url}/v1"), ModelSettings(**settings)).settings
            return found.dialect, found.examples, found.image_size

        assert asked() == ("chat", 1, 96)
        assert asked(examples=2, image_size=64) == ("chat", 2, 64)
        assert asked(dialect="terse") == ("terse", 3, 96)


@pytest.mark.slow
def test_episodes_are_those_in_process(served, nano_checkpoint):
    def answers(policy):
        played = play("reach", policy, [(2_000_000, 0)])
        return [step.decision.answer for e in played for step in e.steps]

    assert answers(served) == answers(str(nano_checkpoint))
