"""Evidence that may be looked at after every batch of episodes: e-processes and a confidence sequence.

A p-value or a Wilson interval holds for a number of episodes that was fixed before. What is here holds at all looks at
once, whenever one stops (Ville 1939: an e-process exceeds 1 / alpha with a probability of at most alpha).

Sources: Robbins (1970), "Statistical methods related to the law of the iterated logarithm", the mixtures; Waudby-Smith
and Ramdas (2024), "Estimating means of bounded random variables by betting"; Howard, Ramdas, McAuliffe and Sekhon
(2021), "Time-uniform, nonparametric, nonasymptotic confidence sequences", the beta-binomial mixture and its tuning;
Ramdas, Gruenwald, Vovk and Shafer (2023), "Game-theoretic statistics and safe anytime-valid inference". A page of code,
as no library is kept well enough: confseq's last release is of January 2023 and calls itself early-stage, expectation
and ville (2026) are below 1.0, and the first of them has no release for Python 3.11.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from scipy import special, stats

from agent.measure.statistics import successes
from agent.organise.episode import Episode
from envs.errors import UserError

ALPHA = 0.05
GRID = np.linspace(0.0, 1.0, 4001)  # rates that a confidence sequence tests


@cache
def log_e_better(gained: int, lost: int) -> float:
    """Log of the e-process against "the mean gain over the tasks is not positive", from counts of discordant pairs.

    The wealth of a bettor who stakes the share b on a gain before each pair, (1 + b)^gained (1 - b)^lost, averaged over
    b uniform on (0, 1). With q = (1 + b) / 2 this is a beta-binomial mixture, of gains with probability q, over the
    sign test's 1/2. It is an e-process at looks after as many pairs of every task: for the same b the expected product
    over tasks is prod(1 + b * gain) <= (1 + b * mean gain)^tasks <= 1. Against "not worse" it is
    log_e_better(lost, gained). -inf where it underflows, which is no evidence.
    """
    n = gained + lost
    return float((n + 1) * np.log(2) + special.betaln(gained + 1, lost + 1) + stats.binom.logcdf(gained, n + 1, 0.5))


@cache
def confidence_sequence(k: int, n: int, half_width: float, alpha: float = ALPHA) -> tuple[float, float]:
    """The interval of the rates that k successes in n do not speak against; it holds at all n at once.

    Each rate p is tested by a beta-binomial mixture whose prior has the mean p and the standard deviation `half_width`:
    about the one that Howard et al. (2021) find best where the interval has this half-width. The interval
    holds whatever that is. Raises ValueError for no episodes.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} successes of {n} episodes")
    p = GRID[1:-1]
    concentration = np.maximum(p * (1 - p) / half_width**2 - 1, 1.0)
    a, b = concentration * p, concentration * (1 - p)
    log_e = special.betaln(a + k, b + n - k) - special.betaln(a, b) - special.xlogy(k, p) - special.xlog1py(n - k, -p)
    kept = np.flatnonzero(log_e < -np.log(alpha)) + 1
    low, high = GRID[kept[0] - 1], GRID[kept[-1] + 1]  # a step wider on each side: what lies between was not tested
    return (0.0 if k == 0 else float(low)), (1.0 if k == n else float(high))


def anytime_rate(successes: Sequence[bool], half_width: float) -> dict[str, Any]:
    """A RATE whose `ci95` is anytime-valid, and says so."""
    k, n = int(np.sum(successes)), len(successes)
    return {"k": k, "n": n, "rate": k / n, "ci95": list(confidence_sequence(k, n, half_width)), "anytime": True}


def play_until(
    play: Callable[[Sequence[Any]], Sequence[Episode]],
    starts: Iterator[Any],
    half_width: float,
    batch: int = 50,
) -> tuple[list[Episode], dict[str, Any]]:
    """Play batches of the starts until the success rate's interval has at most this half-width, a rate: 0.05.

    Starts are drawn as they are needed. Returns the episodes and their `anytime_rate`, after all starts where the
    interval is wider still. Raises UserError for a half-width outside (0, 0.5), where there are no starts, and where
    all episodes are broken.
    """
    check_half_width(half_width)
    played: list[Episode] = []
    while some := list(islice(starts, batch)):
        played += play(some)
        if all(e.ending == "broken" for e in played):
            continue
        low, high = anytime_rate(successes(played), half_width)["ci95"]
        if high - low <= 2 * half_width:
            break
    if not played:
        raise UserError("no starts to play; valid: at least 1")
    return played, anytime_rate(successes(played), half_width)


def check_half_width(half_width: float) -> None:
    """Raises UserError for a half-width that no interval of a rate can be stopped at."""
    if not 0.005 <= half_width < 0.5:
        raise UserError(f"half-width {100 * half_width:g} points; valid: from 0.5 to below 50 points")
