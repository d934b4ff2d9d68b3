"""The multimodal policy: propose answers, criticise them, act on the best."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from envs.observation import Observation
from policies import prompt
from policies.action_codec import AnswerCodec
from policies.backend import Backend, Request
from policies.base import Decision
from policies.critic import judge

PROPOSAL_TEMPERATURE = 0.7  # at least, for the proposals beside the greedy one


class MLLMPolicy:
    """Looks at the frames, says what it sees, and acts.

    temperature: 0 is greedy. proposals: answers sampled for each decision; with more than one, the same model judges
    each and the best verdict acts (the first proposal is greedy, so that criticism can only add to it).
    judged: ask for the verdict on a single answer too, to audit the critic.
    """

    def __init__(
        self, backend: Backend, codec: AnswerCodec, temperature: float = 0.0, proposals: int = 1, judged: bool = False
    ):
        self.backend, self.codec = backend, codec
        self.temperature, self.proposals, self.judged = temperature, proposals, judged

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        seeds = [int(rng.integers(2**62)) for rng in rngs]
        if self.proposals == 1:
            decisions = [self._decide(answer) for answer in self._propose(observations, self.temperature, seeds)]
            if self.judged:
                verdicts = judge(self.backend, observations, [d.answer for d in decisions])
                decisions = [replace(d, verdict=float(v)) for d, v in zip(decisions, verdicts, strict=True)]
            return decisions
        hot = max(self.temperature, PROPOSAL_TEMPERATURE)
        rounds = [
            self._propose(observations, hot if k else 0.0, [seed + k for seed in seeds]) for k in range(self.proposals)
        ]
        verdicts = judge(self.backend, list(observations) * len(rounds), [a for answers in rounds for a in answers])
        verdicts = verdicts.reshape(len(rounds), -1)
        decisions = []
        for i, answers in enumerate(zip(*rounds, strict=True)):
            best = int(np.argmax(verdicts[:, i]))
            proposals = tuple((answer, float(v)) for answer, v in zip(answers, verdicts[:, i], strict=True))
            decisions.append(replace(self._decide(answers[best]), verdict=proposals[best][1], proposals=proposals))
        return decisions

    def _propose(self, observations: Sequence[Observation], temperature: float, seeds: Sequence[int]) -> list[str]:
        requests = [Request(o.frames, prompt.act(o)) for o in observations]
        return self.backend.generate(requests, self.codec.regex, temperature, seeds)

    def _decide(self, answer: str) -> Decision:
        return Decision(answer, self.codec.decode(answer)[1])
