"""The critique: the same model is shown a proposed answer, or how an episode ended, and asked for its verdict.

It says its reason first, then yes or no: a small model comes to a verdict through words that it knows how to find, and
hardly without (chain of thought, Wei et al., 2022). Of an answer the reason is the action that it would take itself and
how that differs, of an ending what it sees of what the task is about, and how much is left to do.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from envs.observation import Observation
from policies import prompt
from policies.action_codec import AnswerCodec
from policies.backend import Backend, Looked, Request

YES, NO = VERDICTS = ("yes", "no")
DIGITS = 4  # of a verdict: the last bits depend on its place in a batch, and must not choose among sure proposals


class Critique(NamedTuple):
    """verdict: the probability of yes, in [0, 1]. reason: what was said before."""

    verdict: float
    reason: str


def critique(reason: str, good: bool) -> str:
    """A critique in words."""
    return "; ".join(part for part in (reason, YES if good else NO) if part)


def judge(
    backend: Backend, codec: AnswerCodec, observations: Sequence[Observation], answers: Sequence[str]
) -> list[Critique]:
    """Whether each answer will work, and the action that the critic would take."""
    requests = [Request(o.frames, prompt.judge(o, a)) for o, a in zip(observations, answers, strict=True)]
    return _critiques(*backend.score(requests, VERDICTS, codec.action.instead_regex))


def judge_each(
    looked: Looked, codec: AnswerCodec, observations: Sequence[Observation], answers: Sequence[Sequence[str]]
) -> list[list[Critique]]:
    """As `judge`, of as many answers to each observation, which was looked at already."""
    questions = [[prompt.judge(o, a) for a in some] for o, some in zip(observations, answers, strict=True)]
    verdicts, reasons = looked.score(questions, VERDICTS, codec.action.instead_regex)
    return [_critiques(*both) for both in zip(verdicts, reasons, strict=True)]


def conclude(backend: Backend, regex: str, ends: Sequence[Observation]) -> list[Critique]:
    """Whether each is done, given what the last frame of its episode shows, after what it says there: `regex`."""
    requests = [Request(o.frames, prompt.done(o)) for o in ends]
    return _critiques(*backend.score(requests, VERDICTS, regex))


def _critiques(verdicts: np.ndarray, reasons: Sequence[str]) -> list[Critique]:
    return [Critique(round(float(yes), DIGITS), reason) for (yes, _), reason in zip(verdicts, reasons, strict=True)]
