"""The measured outcome of an answer: whether success followed, and how soon, on any time scale.

A discounted return makes a late success worth as little as a failure: 0.9 a step is below 0.02 after 40 steps. Here
success comes first and speed second. Speed is relative to the steps that were left, so that a number means the same for
an episode of 8 steps and of 500.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from agent.config import Margin
from agent.organise.episode import Episode


class Outcome(NamedTuple):
    """The outcome of an answer, or the difference of two outcomes. Ordered: success first, then speed.

    success: share of the repeats that succeeded, in [0, 1]. saved: mean share of the remaining steps that a success did
    not need, in [0, 1); 0 for a failure and for a success at the last step.
    """

    success: float
    saved: float

    @property
    def value(self) -> float:
        """One number, in [0, 2): a success is worth 1 more than a failure, and up to 1 more for its speed."""
        return self.success + self.saved

    def less(self, other: "Outcome") -> "Outcome":
        """The difference of both numbers."""
        return Outcome(self.success - other.success, self.saved - other.saved)

    def beats(self, other: "Outcome", by: Margin) -> bool:
        """Whether success is more frequent by at least `by.success`, or as frequent and faster by at least `by.saved`.

        Speed does not count where the success rates differ by less than `by.success`.
        """
        gained = self.less(other)
        return gained.success >= by.success or (gained.success == 0 and gained.saved >= by.saved)

    def ties(self, other: "Outcome", tie: Margin) -> bool:
        """Whether neither number differs by more than `tie`'s.

        `tie.success` is below 1, so that a failure never ties with a success.
        """
        gained = self.less(other)
        return abs(gained.success) <= tie.success and abs(gained.saved) <= tie.saved


FAILURE = Outcome(0.0, 0.0)


def outcome(success: bool, later: int, left: int) -> Outcome:
    """The outcome of one answer. left: decisions left when it was given, itself included. later: decisions after it.

    Raises ValueError for more later decisions than were left.
    """
    if not 0 <= later < left:
        raise ValueError(f"{later} decisions after an answer with {left} left")
    return Outcome(1.0, 1 - (later + 1) / left) if success else FAILURE


def mean(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of an answer over several repeats: the mean of each number."""
    return Outcome(*map(float, np.mean(list(outcomes), axis=0)))


def outcomes_of(episode: Episode, horizon: int | None) -> list[Outcome]:
    """The outcome of each of the episode's own answers, in order.

    horizon: most decisions of an episode; None takes the episode's own length.
    """
    n = len(episode.steps)
    ends = max(n, horizon or n)
    return [outcome(episode.success, n - 1 - i, ends - i) for i in range(episode.branched_at, n)]
