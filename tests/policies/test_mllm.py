"""Propose, criticise, revise, act: MLLMPolicy on a backend that maps messages to text."""

import re

import numpy as np
import pytest

from envs.observation import Observation
from envs.registry import TASKS
from policies.action_codec import action_of, codec_for
from policies.mllm import MLLMPolicy

RATHER = "move +4 +0"
FRAMES = np.zeros((1, 8, 8, 3), np.uint8)


def answer(level):
    return f"red cube 1 2; over 3 4 +1 +2; move {level:+d} +0"


class FakeBackend:
    """Maps messages to text: answers with `level(text, temperature, seed)`, judges by `liked` (level -> verdict, else
    0.1), and prefers the action RATHER."""

    def __init__(self, level, liked=None):
        self.level, self.liked = level, liked or {}
        self.generated, self.judged, self.answer = [], [], answer

    def likes(self, text):
        return max((p for level, p in self.liked.items() if answer(level) in text), default=0.1)

    def generate(self, requests, regex, temperature, seeds):
        return [said for (said,) in self.prefill(requests).generate(regex, [temperature], [[seed] for seed in seeds])]

    def prefill(self, requests):
        return FakePrefilledBatch(self, [request.messages[0]["content"][-1]["text"] for request in requests])


class FakePrefilledBatch:
    digits = 4

    def __init__(self, backend, texts):
        self.backend, self.texts = backend, texts

    def generate(self, regex, temperatures, seeds):
        if re.fullmatch(regex, RATHER):
            return [[RATHER] * len(temperatures) for _ in self.texts]
        drawn = []
        for k, temperature in enumerate(temperatures):
            row = [some[k] for some in seeds]
            self.backend.generated.append((temperature, tuple(row)))
            levels = [self.backend.level(text, temperature, seed) for text, seed in zip(self.texts, row, strict=True)]
            drawn.append(map(self.backend.answer, levels))
        return [list(answers) for answers in zip(*drawn, strict=True)]

    def odds(self, texts, others):
        for question, yes, no in zip(self.texts, texts, others, strict=True):
            own, judged = RATHER.split()[1:], question.removesuffix(". good?").split()[-2:]
            farther = " ".join(f"{int(a) - int(b):+d}" for a, b in zip(own, judged, strict=True))
            assert (yes, no) == (f"{RATHER} {farther}; yes", f"{RATHER} {farther}; no")
        self.backend.judged += self.texts
        return np.array([self.backend.likes(question) for question in self.texts])

    def extend(self, prompts, last=False):
        asked = [[q[0]["content"][-1]["text"] for q in some] for some in prompts]
        assert all(q.startswith(text) for text, some in zip(self.texts, asked, strict=True) for q in some)
        return FakePrefilledBatch(self.backend, [q for some in asked for q in some])


@pytest.fixture(scope="module")
def codec():
    return codec_for(TASKS["reach"])


@pytest.fixture
def observations():
    return [Observation(FRAMES, f"reach the {colour} cube", "gripper 5 5") for colour in ("red", "blue")]


def rngs(n=2, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(n)]


def count_up():
    """Levels 0 for greedy answers, then 1, 2, ... for each sampled round."""
    rounds = []

    def level(text, temperature, seed):
        if temperature == 0:
            return 0
        if seed not in rounds:
            rounds.append(seed)
        return 1 + rounds.index(seed) // 2

    return level


def test_one_proposal_acts_without_the_critic(codec, observations):
    backend = FakeBackend(lambda text, temperature, seed: 1 if "red" in text else -2)
    decisions = MLLMPolicy(backend, codec, temperature=1.0).act(observations, rngs())
    assert [d.answer for d in decisions] == [answer(1), answer(-2)]
    np.testing.assert_allclose([d.action for d in decisions], [[0.25, 0], [-0.5, 0]])
    assert [d.verdict for d in decisions] == [None, None]
    assert backend.judged == []
    assert [temperature for temperature, _ in backend.generated] == [1.0]


def test_one_proposal_is_judged_where_it_may_be_revised(codec, observations):
    backend = FakeBackend(lambda text, temperature, seed: 1 if "red" in text else 2, liked={1: 0.8, 2: 0.3})
    decisions = MLLMPolicy(backend, codec, revisions=1, threshold=0.0).act(observations, rngs())
    assert [d.verdict for d in decisions] == [0.8, 0.3]
    assert [d.answer for d in decisions] == [answer(1), answer(2)]
    assert backend.judged == [
        f"reach the red cube. gripper 5 5. {answer(1)}. good?",
        f"reach the blue cube. gripper 5 5. {answer(2)}. good?",
    ]


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_best_verdict_acts(codec, observations, best):
    backend = FakeBackend(count_up(), liked={best: 0.9})
    decisions = MLLMPolicy(backend, codec, proposals=3).act(observations, rngs())
    for decision in decisions:
        assert decision.answer == answer(best)
        assert decision.action[0] == pytest.approx(best / 4)
        assert decision.verdict == 0.9
        assert decision.proposals == tuple((answer(k), 0.9 if k == best else 0.1) for k in range(3))


def test_an_action_that_is_proposed_twice_is_judged_once(codec, observations):
    backend = FakeBackend(lambda text, temperature, seed: 1 if temperature and seed % 2 else 0, liked={1: 0.9})
    for decision in MLLMPolicy(backend, codec, proposals=4).act(observations, rngs()):
        assert dict(decision.proposals) == {answer(0): 0.1, answer(1): 0.9}
        assert len(decision.proposals) == 4
    assert len(backend.judged) == 4


def test_the_first_proposal_is_greedy_and_wins_a_tie(codec, observations):
    backend = FakeBackend(count_up())
    decisions = MLLMPolicy(backend, codec, proposals=3).act(observations, rngs())
    assert [temperature for temperature, _ in backend.generated] == [0.0, 0.7, 0.7]
    assert all(d.answer == answer(0) for d in decisions)


def test_proposals_of_a_decision_have_seeds_of_their_own(codec, observations):
    backend = FakeBackend(count_up())
    MLLMPolicy(backend, codec, proposals=4).act(observations, rngs())
    seeds = [seed for temperature, row in backend.generated if temperature for seed in row]
    assert len(set(seeds)) == 6


def test_verdicts_go_to_their_own_observation(codec, observations):
    """The best differs between the observations of one batch."""
    backend = FakeBackend(count_up())
    backend.likes = lambda text: 0.9 if answer(1 if "red cube. g" in text else 2) in text else 0
    decisions = MLLMPolicy(backend, codec, proposals=3).act(observations, rngs())
    assert [d.answer for d in decisions] == [answer(1), answer(2)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("proposals", [1, 3])
def test_an_action_is_judged_by_what_the_critic_sees_itself(codec, observations, temperature, proposals):
    """The question holds the greedy thought, not the thought of the sampled answer."""
    backend = FakeBackend(lambda text, temperature, seed: f"{seed % 9 - 4:+d} +0" if temperature else "-4 +4")
    backend.answer = lambda way: f"red cube 1 2; over 3 4 {way}; move {way}"
    policy = MLLMPolicy(backend, codec, temperature, proposals, revisions=1, threshold=0.0)
    decisions = policy.act(observations[:1], rngs(1))
    answers = [answer for answer, _ in decisions[0].proposals] or [decisions[0].answer]
    assert backend.judged == [
        f"reach the red cube. gripper 5 5. red cube 1 2; over 3 4 -4 +4; {action_of(answer)}. good?"
        for answer in answers
    ]


def test_what_is_drawn_comes_from_the_episodes_generator(codec, observations):
    policy = MLLMPolicy(FakeBackend(lambda text, temperature, seed: seed % 9 - 4), codec, temperature=1.0)
    together = [d.answer for d in policy.act(observations, rngs())]
    swapped = [d.answer for d in policy.act(observations[::-1], rngs()[::-1])]
    assert swapped == together[::-1]
    assert [d.answer for d in policy.act(observations[1:], rngs()[1:])] == together[1:]


# revisions -------------------------------------------------------------------------------------------------------
def contrite():
    """A backend's `level`: 0 at first, and 3 once the prompt holds a critique."""
    return lambda text, temperature, seed: 3 if text.endswith(f"{RATHER} +4 +0; no") else 0


@pytest.mark.parametrize("proposals", [1, 3])
def test_a_poor_answer_is_given_again_with_its_critique(codec, observations, proposals):
    backend = FakeBackend(contrite(), liked={0: 0.2, 3: 0.6})
    decisions = MLLMPolicy(backend, codec, proposals=proposals, revisions=1).act(observations, rngs())
    for decision in decisions:
        assert (decision.answer, decision.verdict, decision.critique) == (answer(3), 0.6, f"{RATHER} +1 +0")
        assert decision.action[0] == pytest.approx(3 / 4)
        assert decision.proposals == ((answer(0), 0.2),) * proposals + ((answer(3), 0.6),)


def test_a_revision_that_the_critic_likes_less_does_not_act(codec, observations):
    backend = FakeBackend(contrite(), liked={0: 0.2, 3: 0.15})
    decisions = MLLMPolicy(backend, codec, revisions=1).act(observations, rngs())
    assert [(d.answer, d.verdict) for d in decisions] == [(answer(0), 0.2)] * 2
    assert all(d.proposals == ((answer(0), 0.2), (answer(3), 0.15)) for d in decisions)


@pytest.mark.parametrize(("threshold", "revised"), [(0.0, False), (0.2, False), (0.21, True)])
def test_only_what_is_poor_is_revised(codec, observations, threshold, revised):
    backend = FakeBackend(contrite(), liked={0: 0.2, 3: 0.6})
    decisions = MLLMPolicy(backend, codec, revisions=1, threshold=threshold).act(observations, rngs())
    assert all((d.answer == answer(3)) == revised for d in decisions)


def test_it_revises_at_most_so_often_and_stops_once_it_is_good(codec, observations):
    poor = FakeBackend(contrite(), liked={0: 0.2, 3: 0.3})
    MLLMPolicy(poor, codec, revisions=3).act(observations, rngs())
    assert len(poor.generated) == 1 + 3
    good = FakeBackend(contrite(), liked={0: 0.2, 3: 0.6})
    MLLMPolicy(good, codec, revisions=3).act(observations, rngs())
    assert len(good.generated) == 1 + 1


def test_a_revision_goes_to_its_own_observation(codec, observations):
    liked = {0: 0.2, 3: 0.6}
    backend = FakeBackend(lambda text, *_: (3 if text.endswith("; no") else 0) if "red cube. g" in text else 1, liked)
    backend.liked[1] = 0.9
    red, blue = MLLMPolicy(backend, codec, revisions=1).act(observations, rngs())
    assert (red.answer, red.critique) == (answer(3), f"{RATHER} +1 +0")
    assert (blue.answer, blue.verdict, blue.proposals) == (answer(1), 0.9, ())
