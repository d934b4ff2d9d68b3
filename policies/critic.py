"""The critique: the same model is shown a proposed answer and asked whether it will work."""

from collections.abc import Sequence

import numpy as np

from envs.observation import Observation
from policies import prompt
from policies.backend import Backend, Request

VERDICTS = ("yes", "no")


def judge(backend: Backend, observations: Sequence[Observation], answers: Sequence[str]) -> np.ndarray:
    """(n,) the probability that each answer will work."""
    requests = [Request(o.frames, prompt.judge(o, a)) for o, a in zip(observations, answers, strict=True)]
    return backend.score(requests, VERDICTS)[:, 0]
