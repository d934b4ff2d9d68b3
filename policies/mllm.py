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
    """Reads the frames, says what it sees, and acts.

    temperature: 0 is greedy. proposals: answers drawn for each decision. With more than one, the same model judges each
    and the one with the best verdict acts; the first proposal is greedy. revisions: how often, at most, the model
    answers again with the critique in its prompt, where the best verdict is below `threshold`; a revision acts if its
    verdict is better.
    """

    def __init__(
        self,
        backend: Backend,
        codec: AnswerCodec,
        temperature: float = 0.0,
        proposals: int = 1,
        revisions: int = 0,
        threshold: float = 0.5,
    ):
        self.backend, self.codec = backend, codec
        self.temperature, self.proposals = temperature, proposals
        self.revisions, self.threshold = revisions, threshold

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        return self.decide(observations, draw_seeds(rngs))

    def decide(self, observations: Sequence[Observation], seeds: Sequence[int]) -> list[Decision]:
        """As `act`, given the seed of each decision. Frames and prompts are prefilled once for all proposals and
        verdicts."""
        prefilled = self.backend.prefill([Request(o.frames, prompt.act(o)) for o in observations])
        temperatures = [self.temperature]
        if self.proposals > 1:
            temperatures = [0.0] + [max(self.temperature, PROPOSAL_TEMPERATURE)] * (self.proposals - 1)
        answers = prefilled.generate(self.codec.regex, temperatures, [range(s, s + self.proposals) for s in seeds])
        if self.proposals == 1 and not self.revisions:
            return [self._decide(answer) for (answer,) in answers]
        own = [some[0] for some in answers]
        if temperatures[0] > 0:
            own = critic.greedy(prefilled, self.codec.regex, len(answers))
        decisions = self._choose(answers, critic.judge_each(prefilled, self.codec, observations, own, answers))
        for _ in range(self.revisions):
            decisions = self._revise(observations, own, decisions)
        return decisions

    def _choose(
        self, answers: Sequence[Sequence[str]], critiques: Sequence[Sequence[critic.Critique]]
    ) -> list[Decision]:
        """The proposal with the best verdict."""
        decisions = []
        for some, judged in zip(answers, critiques, strict=True):
            best = max(range(len(some)), key=lambda k: judged[k].verdict)
            rated = tuple((answer, c.verdict) for answer, c in zip(some, judged, strict=True))
            proposals = rated if len(rated) > 1 else ()
            decisions.append(self._decide(some[best], judged[best], proposals))
        return decisions

    def _revise(
        self, observations: Sequence[Observation], own: Sequence[str], decisions: Sequence[Decision]
    ) -> list[Decision]:
        """Replaces answers with a verdict below the threshold by revisions with a better verdict."""
        result = list(decisions)
        poor = [i for i, d in enumerate(decisions) if d.verdict < self.threshold]
        if not poor:
            return result
        some, old = [observations[i] for i in poor], [decisions[i] for i in poor]
        again = [prompt.revise(o, d.answer, critic.critique(d.critique, False)) for o, d in zip(some, old, strict=True)]
        requests = [Request(o.frames, messages) for o, messages in zip(some, again, strict=True)]
        answers = self.backend.generate(requests, self.codec.regex, 0.0, [0] * len(poor))
        critiques = critic.judge(self.backend, self.codec, some, answers, [own[i] for i in poor])
        for i, before, answer, c in zip(poor, old, answers, critiques, strict=True):
            proposals = (*(before.proposals or ((before.answer, before.verdict),)), (answer, c.verdict))
            better = c.verdict > before.verdict
            result[i] = self._decide(answer, c, proposals) if better else replace(before, proposals=proposals)
        return result

    def _decide(
        self, answer: str, judged: critic.Critique | None = None, proposals: tuple[tuple[str, float], ...] = ()
    ) -> Decision:
        action = self.codec.decode(answer)[1]
        return (
            Decision(answer, action, judged.verdict, proposals, judged.reason) if judged else Decision(answer, action)
        )


def draw_seeds(rngs: Sequence[np.random.Generator]) -> list[int]:
    """The seed of the next decision of each episode."""
    return [int(rng.integers(2**62)) for rng in rngs]
