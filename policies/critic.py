"""The critic: the policy's own model judges a proposed answer, or how an episode ended.

The model says a reason first, then yes or no: a small model hardly comes to a verdict without (chain of thought, Wei et
al., 2022). The reason about an answer is the model's preferred action and its difference from the answer's. The reason
about an ending is what the model sees there, and how much is left to do.

The critic judges an answer's action in the light of its own greedy thought, not of the answer's thought. A critic that
reads the answer's thought ignores the frames: whether the action follows from the thought already predicts the outcome.
"""

from collections.abc import Sequence
from typing import NamedTuple

from envs.language import Language
from envs.observation import Observation
from policies import prompt
from policies.action_codec import AnswerCodec, action_of, joined, thought_of
from policies.backend import Backend, PrefilledBatch, Request

YES, NO = VERDICTS = ("yes", "no")


class Critique(NamedTuple):
    """verdict: the probability of yes, in [0, 1]. reason: the greedy text before it."""

    verdict: float
    reason: str


def critique(reason: str, good: bool) -> str:
    """A critique in words."""
    return joined(reason, YES if good else NO)


def greedy(prefilled: PrefilledBatch, regex: str, n: int) -> list[str]:
    """The greedy answers, matching `regex`, to `n` prefilled prompts."""
    return [said for (said,) in prefilled.generate(regex, [0.0], [[0]] * n)]


def judge(
    backend: Backend,
    codec: AnswerCodec,
    observations: Sequence[Observation],
    answers: Sequence[str],
    own: Sequence[str] | None = None,
) -> list[Critique]:
    """As `judge_each`, for one answer to each observation. Prefills, and generates `own` if it is missing."""
    prefilled = backend.prefill([Request(o.frames, prompt.act(o)) for o in observations])
    if own is None:
        own = greedy(prefilled, codec.regex, len(observations))
    return [c for (c,) in judge_each(prefilled, codec, observations, own, [[answer] for answer in answers])]


def judge_each(
    prefilled: PrefilledBatch,
    codec: AnswerCodec,
    observations: Sequence[Observation],
    own: Sequence[str],
    answers: Sequence[Sequence[str]],
) -> list[list[Critique]]:
    """Whether each of the answers to each observation will work. own: the critic's greedy answers.

    The critic's preferred action is computed once per observation, after the thought of its own answer: a verdict
    depends on the observation and the action, and on nothing that was proposed beside it.
    """
    thoughts = [thought_of(answer) for answer in own]
    seen = zip(observations, thoughts, strict=True)
    shared = prefilled.extend([[prompt.critic_prefix(o, thought)] for o, thought in seen])

    def asked(answers: Sequence[Sequence[str]]) -> PrefilledBatch:
        each = zip(observations, thoughts, answers, strict=True)
        return shared.extend([[prompt.judge(o, thought, a) for a in some] for o, thought, some in each], last=True)

    actions = greedy(asked([[answer] for answer in own]), codec.action.regex, len(own))
    different = [list(dict.fromkeys(map(action_of, some))) for some in answers]
    reasons = [codec.instead(a, action) for some, action in zip(different, actions, strict=True) for a in some]
    critiques = iter(_critiques(asked(different), reasons))
    of_action = [{action: next(critiques) for action in some} for some in different]
    return [[known[action_of(a)] for a in some] for some, known in zip(answers, of_action, strict=True)]


def conclude(backend: Backend, language: Language, ends: Sequence[Observation]) -> list[Critique]:
    """Whether the task is done at each ending, of which the first and the last frame of the episode are shown.

    The model says the positions that it sees. The language derives the rest, such as the way left: a tool is better at
    arithmetic (Toolformer, Schick et al., 2023).
    """
    prefilled = backend.prefill([Request(o.frames, prompt.done(o)) for o in ends])
    regex = language.ending_regex
    said = greedy(prefilled, regex, len(ends)) if regex else [""] * len(ends)
    reasons = [language.derive_ending(words, o.proprioception) for words, o in zip(said, ends, strict=True)]
    return _critiques(prefilled, reasons)


def _critiques(prefilled: PrefilledBatch, reasons: Sequence[str]) -> list[Critique]:
    """Each reason with the probability of yes after it, to so many digits that its place in a batch does not choose
    among sure proposals."""
    verdicts = prefilled.odds(*([critique(reason, good) for reason in reasons] for good in (True, False)))
    return [Critique(round(float(v), prefilled.digits), reason) for v, reason in zip(verdicts, reasons, strict=True)]
