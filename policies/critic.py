"""The critique: the same model is shown a proposed answer, or how an episode ended, and asked for its verdict.

It says its reason first, then yes or no: a small model comes to a verdict through words that it knows how to find, and
hardly without (chain of thought, Wei et al., 2022). Of an answer the reason is the action that it would take itself and
how that differs, of an ending what it sees of what the task is about, and how much is left to do.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from envs.observation import Observation
from policies import prompt
from policies.action_codec import AnswerCodec
from policies.backend import Backend, Looked, Request

YES, NO = VERDICTS = ("yes", "no")
DIGITS = 4  # of a verdict: the last bits depend on its place in a batch, and must not choose among sure proposals


class Critique(NamedTuple):
    """verdict: the probability of yes, in [0, 1]. reason: what is said before, greedily."""

    verdict: float
    reason: str


def critique(reason: str, good: bool) -> str:
    """A critique in words."""
    return _joined(reason, YES if good else NO)


def judge(
    backend: Backend, codec: AnswerCodec, observations: Sequence[Observation], answers: Sequence[str]
) -> list[Critique]:
    """Whether each answer will work, and the action that the critic would take.

    The verdict is the probability that it would take the very action, and say yes: not that of a yes after the one
    action that it likes best, which would make it sure of whatever it is not.
    """
    requests = [Request(o.frames, prompt.judge(o, a)) for o, a in zip(observations, answers, strict=True)]
    return _judged(backend.look(requests), codec, answers)


def judge_each(
    looked: Looked, codec: AnswerCodec, observations: Sequence[Observation], answers: Sequence[Sequence[str]]
) -> list[list[Critique]]:
    """As `judge`, of as many answers to each observation, which was looked at already."""
    questions = [[prompt.judge(o, a) for a in some] for o, some in zip(observations, answers, strict=True)]
    critiques = iter(_judged(looked.then(questions), codec, [a for some in answers for a in some]))
    return [[next(critiques) for _ in some] for some in answers]


def conclude(backend: Backend, regex: str, ends: Sequence[Observation]) -> list[Critique]:
    """Whether each is done, given what the last frame of its episode shows, after what it says there: `regex`."""
    looked = backend.look([Request(o.frames, prompt.done(o)) for o in ends])
    reasons = _reasons(looked, regex, len(ends)) if regex else [""] * len(ends)
    yes, no = (looked.likelihood([critique(r, good) for r in reasons], _regex(regex)) for good in (True, False))
    return _critiques(yes / (yes + no), reasons)


def _judged(looked: Looked, codec: AnswerCodec, answers: Sequence[str]) -> list[Critique]:
    praise = [critique(codec.instead(answer, answer), True) for answer in answers]
    verdicts = looked.likelihood(praise, _regex(codec.action.instead_regex))
    actions = _reasons(looked, codec.action.regex, len(answers))
    return _critiques(verdicts, map(codec.instead, answers, actions))


def _reasons(looked: Looked, regex: str, n: int) -> list[str]:
    return [reason for (reason,) in looked.generate(regex, [0.0], [[0]] * n)]


def _regex(reason: str) -> str:
    return _joined(reason, f"({YES}|{NO})")


def _joined(reason: str, verdict: str) -> str:
    return "; ".join(part for part in (reason, verdict) if part)


def _critiques(verdicts: Iterable[float], reasons: Iterable[str]) -> list[Critique]:
    return [Critique(round(float(v), DIGITS), reason) for v, reason in zip(verdicts, reasons, strict=True)]
