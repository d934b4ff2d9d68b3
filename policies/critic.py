"""The critique: the same model is shown a proposed answer, or how an episode ended, and asked for its verdict.

It says its reason first, then yes or no: a small model comes to a verdict through words that it knows how to find, and
hardly without (chain of thought, Wei et al., 2022). Of an answer the reason is the action that it would take itself and
how that differs, of an ending what it sees of what the task is about, and how much is left to do.

What is judged of an answer is its action, after what the critic sees itself: the thought of its own greedy answer. With
the answer's own words before it a critic need not look: whether an action follows from them tells it enough.
"""

from collections.abc import Sequence
from typing import NamedTuple

from envs.language import Language
from envs.observation import Observation
from policies import prompt
from policies.action_codec import AnswerCodec, action_of, joined, thought_of
from policies.backend import Backend, PrefilledBatch, Request

YES, NO = VERDICTS = ("yes", "no")
DIGITS = 4  # of a verdict: the last bits depend on its place in a batch, and must not choose among sure proposals


class Critique(NamedTuple):
    """verdict: the probability of yes, in [0, 1]. reason: what is said before, greedily."""

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
    """As `judge_each`, of one answer to each observation, which is prefilled first, and without `own` answered too."""
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
    """Whether each of the answers to each observation works; `own` are the critic's, given greedily.

    It goes by the thought of its own answer, and what it would do instead it is asked once for each observation, of
    that answer: a verdict depends on the observation and the action, and on nothing that was proposed beside it.
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
    """Whether each is done, given an episode's first and last frame, after what it says of them.

    It says what it sees; what follows from that by arithmetic a tool works out, which is better at it (Toolformer,
    Schick et al., 2023).
    """
    prefilled = backend.prefill([Request(o.frames, prompt.done(o)) for o in ends])
    regex = language.ending_regex
    said = greedy(prefilled, regex, len(ends)) if regex else [""] * len(ends)
    reasons = [language.derive_ending(words, o.proprioception) for words, o in zip(said, ends, strict=True)]
    return _critiques(prefilled, reasons)


def _critiques(prefilled: PrefilledBatch, reasons: Sequence[str]) -> list[Critique]:
    """Each reason with the probability of a yes after it."""
    verdicts = prefilled.odds(*([critique(reason, good) for reason in reasons] for good in (True, False)))
    return [Critique(round(float(v), DIGITS), reason) for v, reason in zip(verdicts, reasons, strict=True)]
