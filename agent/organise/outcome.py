"""What an answer was worth: whether success followed, and how soon, on any time scale.

Discounting success by each step that it took, as returns are, makes a late success worth as little as a failure: at 0.9
a step, nothing is left of it after 40. Here success comes first and speed second, and speed is relative to the steps
that were left, so that a number means the same for an episode of 8 steps and of 500.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from agent.config import Margin
from agent.organise.episode import Episode


class Outcome(NamedTuple):
    """The outcome of an answer, or the difference of two outcomes. Ordered: success first, then speed.

    success: share of the repeats that succeeded, in [0, 1]. saved: mean share of the steps left that success did not
    need, in [0, 1); 0 for a failure and for a success with the last step.
    """

    success: float
    saved: float

    def less(self, other: "Outcome") -> "Outcome":
        """The difference of both numbers."""
        return Outcome(self.success - other.success, self.saved - other.saved)

    def beats(self, other: "Outcome", by: Margin) -> bool:
        """Whether success is more frequent by at least `by.success`, or as frequent and faster by at least `by.saved`.

        A smaller difference in success decides nothing, and neither does the speed then.
        """
        gained = self.less(other)
        return gained.success >= by.success or (gained.success == 0 and gained.saved >= by.saved)

    def ties(self, other: "Outcome", tie: Margin) -> bool:
        """Whether neither is better by more than `tie`.

        As `tie.success` is below 1, a failure never ties with a success.
        """
        gained = self.less(other)
        return abs(gained.success) <= tie.success and abs(gained.saved) <= tie.saved


FAILURE = Outcome(0.0, 0.0)


def outcome(success: bool, later: int, left: int) -> Outcome:
    """Of one answer, given with `left` decisions left (itself among them), and followed by `later` more.

    Raises ValueError where more followed than were left.
    """
    if not 0 <= later < left:
        raise ValueError(f"{later} decisions after an answer with {left} left")
    return Outcome(1.0, 1 - (later + 1) / left) if success else FAILURE


def mean(outcomes: Iterable[Outcome]) -> Outcome:
    """Of an answer that was followed several times."""
    return Outcome(*map(float, np.mean(list(outcomes), axis=0)))


def outcomes_of(episode: Episode, horizon: int | None) -> list[Outcome]:
    """The outcome of each of the episode's own answers, in their order.

    horizon: decisions of an episode, at most; without one, the episode's own length stands for it.
    """
    n = len(episode.steps)
    ends = max(n, horizon or n)
    return [outcome(episode.success, n - 1 - i, ends - i) for i in range(episode.branched_at, n)]
