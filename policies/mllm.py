"""The multimodal policy: propose answers, criticise them, act on the best, or answer again where all are poor."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from envs.observation import Observation
from policies import critic, prompt
from policies.action_codec import AnswerCodec
from policies.backend import Backend, Request
from policies.base import Decision

PROPOSAL_TEMPERATURE = 0.7  # at least, for the proposals beside the greedy one


class MLLMPolicy:
    """Looks at the frames, says what it sees, and acts.

    temperature: 0 is greedy. proposals: answers drawn for each decision; with more than one, the same model judges each
    and the best verdict acts (the first proposal is greedy, so that criticism can only add to it). revisions: where the
    best verdict is below `threshold`, the model says what is wrong with that answer and answers again with this in the
    prompt, at most so often; a revision acts if its verdict is better. judged: ask for the verdict on a single answer
    too, to audit the critic.
    """

    def __init__(
        self,
        backend: Backend,
        codec: AnswerCodec,
        temperature: float = 0.0,
        proposals: int = 1,
        revisions: int = 0,
        threshold: float = 0.5,
        judged: bool = False,
    ):
        self.backend, self.codec = backend, codec
        self.temperature, self.proposals = temperature, proposals
        self.revisions, self.threshold, self.judged = revisions, threshold, judged

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        seeds = [int(rng.integers(2**62)) for rng in rngs]
        requests = [Request(o.frames, prompt.act(o)) for o in observations]
        if self.proposals > 1:
            decisions = self._choose(observations, requests, seeds)
        else:
            answers = self.backend.generate(requests, self.codec.regex, self.temperature, seeds)
            decisions = [self._decide(answer) for answer in answers]
            if self.judged or self.revisions:
                verdicts = critic.judge(self.backend, observations, answers)
                decisions = [replace(d, verdict=float(v)) for d, v in zip(decisions, verdicts, strict=True)]
        for _ in range(self.revisions):
            decisions = self._revise(observations, decisions)
        return decisions

    def _choose(
        self, observations: Sequence[Observation], requests: Sequence[Request], seeds: Sequence[int]
    ) -> list[Decision]:
        """The proposal with the best verdict. Frames and prompts are read once for all proposals and verdicts."""
        hot = max(self.temperature, PROPOSAL_TEMPERATURE)
        temperatures = [0.0] + [hot] * (self.proposals - 1)
        looked = self.backend.look(requests)
        answers = looked.generate(self.codec.regex, temperatures, [range(s, s + self.proposals) for s in seeds])
        questions = [[prompt.judge(o, a) for a in some] for o, some in zip(observations, answers, strict=True)]
        verdicts = looked.score(questions, critic.VERDICTS)[:, :, 0]
        decisions = []
        for some, judged in zip(answers, verdicts, strict=True):
            proposals = tuple(zip(some, map(float, judged), strict=True))
            best = int(np.argmax(judged))
            decisions.append(replace(self._decide(some[best]), verdict=proposals[best][1], proposals=proposals))
        return decisions

    def _revise(self, observations: Sequence[Observation], decisions: Sequence[Decision]) -> list[Decision]:
        """Other answers in the place of poor ones, where the critic likes them better."""
        poor = [i for i, d in enumerate(decisions) if d.verdict < self.threshold]
        if not poor:
            return list(decisions)
        seen, answers = [observations[i] for i in poor], [decisions[i].answer for i in poor]
        critiques = critic.object_to(self.backend, seen, answers)
        again = [prompt.revise(*args) for args in zip(seen, answers, critiques, strict=True)]
        requests = [Request(o.frames, messages) for o, messages in zip(seen, again, strict=True)]
        revised = self.backend.generate(requests, self.codec.regex, 0.0, [0] * len(poor))
        verdicts = critic.judge(self.backend, seen, revised)
        result = list(decisions)
        for i, critique, answer, verdict in zip(poor, critiques, revised, map(float, verdicts), strict=True):
            old = decisions[i]
            tried = (*(old.proposals or ((old.answer, old.verdict),)), (answer, verdict))
            new = replace(self._decide(answer), verdict=verdict) if verdict > old.verdict else old
            result[i] = replace(new, proposals=tried, critique=critique)
        return result

    def _decide(self, answer: str) -> Decision:
        return Decision(answer, self.codec.decode(answer)[1])
