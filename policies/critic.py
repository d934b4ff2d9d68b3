"""The critique: the same model is shown a proposed answer, or how an episode ended, and asked for its verdict."""

from collections.abc import Sequence

import numpy as np

from envs.observation import Observation
from policies import prompt
from policies.backend import Backend, Request

YES, NO = VERDICTS = ("yes", "no")
OBJECTION = rf"{NO}; [a-z0-9 +-]{{1,40}}"  # a verdict and its reason


def judge(backend: Backend, observations: Sequence[Observation], answers: Sequence[str]) -> np.ndarray:
    """(n,) the probability that each answer will work."""
    requests = [Request(o.frames, prompt.judge(o, a)) for o, a in zip(observations, answers, strict=True)]
    return backend.score(requests, VERDICTS)[:, 0]


def object_to(backend: Backend, observations: Sequence[Observation], answers: Sequence[str]) -> list[str]:
    """What is wrong with each answer, in words: greedy."""
    requests = [Request(o.frames, prompt.judge(o, a)) for o, a in zip(observations, answers, strict=True)]
    return backend.generate(requests, OBJECTION, 0.0, [0] * len(requests))


def conclude(backend: Backend, ends: Sequence[Observation]) -> np.ndarray:
    """(n,) the probability that each task is done, given what the last frame of its episode shows."""
    requests = [Request(o.frames, prompt.done(o)) for o in ends]
    return backend.score(requests, VERDICTS)[:, 0]


def objection(reason: str) -> str:
    """The critique of an answer that will not work."""
    return f"{NO}; {reason}"
