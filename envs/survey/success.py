"""What may be an environment's success, from random play: a key of `info`, the kind of ending, or a return."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from envs.survey.play import Seen, Survey
from envs.wrappers import SuccessRule

NAMES = (  # of keys of `info` that tell success, the surest first; in lower case, without `_` and `-`
    "success",
    "issuccess",
    "tasksuccess",
    "succeed",
    "succeeded",
    "successful",
    "issuccessful",
    "goalreached",
    "reachedgoal",
    "isgoal",
    "atgoal",
    "solved",
    "issolved",
    "taskcompleted",
    "completed",
    "won",
    "win",
    "iswin",
    "arrived",
    "complete",
    "done",
)
SCORES = ("score", "points")  # of keys that count what was reached
SHARE = 0.1  # of the way from other rewards to the lowest that counts, where it counts from
RARE = 0.5  # share of steps below which the higher of two rewards is what is asked for
ANY = 1e-3  # a return above zero, where every step in random play gave none


@dataclass(frozen=True)
class Guess:
    """A rule of success. why: what speaks for it. is_sure: whether something does; else it is there to be changed.
    others: rules that might be meant instead, each with what would speak for it."""

    rule: SuccessRule
    why: str
    is_sure: bool = True
    others: tuple[tuple[SuccessRule, str], ...] = ()


def guess(found: Survey) -> Guess:
    """The first candidate that random play or the registry speaks for; without any, no more than a start."""
    candidates = [*_told(found), *_ended(found), *_registered(found)]
    if candidates:
        (rule, why), *others = candidates
        return Guess(rule, why, True, (*others, *_unseen_ending(found, rule)))
    (rule, why), *others = [*_scored(found), _start(found)]
    return Guess(rule, why, False, (*others, *_unseen_ending(found, rule)))


def holds(rule: SuccessRule, seen: Seen) -> bool:
    """Whether an episode of random play would have counted. A key of `info` counts at any step."""
    if rule.of == "return":
        return rule.holds(seen.total)
    if rule.of == "reward":
        return rule.holds(seen.rewards[-1])
    if rule.of == "terminated":
        return rule.holds(float(seen.terminated))
    return rule.of in seen.highest and rule.holds(seen.highest[rule.of])


Candidate = tuple[SuccessRule, str]


def _told(found: Survey) -> Iterator[Candidate]:
    named = {key.lower().replace("_", "").replace("-", ""): key for key in found.binary}
    for name in NAMES:
        if name in named:
            yield SuccessRule(named[name], at_least=1), f"info[{named[name]!r}] is 0 or 1, and is called so"


def _ended(found: Survey) -> Iterator[Candidate]:
    """Endings whose last reward lies above all others by more than these differ among each other."""
    before = [reward for e in found.episodes for reward in e.rewards[:-1]]
    ended = [e for e in found.episodes if e.terminated]
    if not before or not ended:
        return
    leap = max(before) + (max(before) - min(before))
    rewarded = [e.rewards[-1] for e in ended if e.rewards[-1] > leap]
    if not rewarded:
        return
    how = f"{len(rewarded)} of {len(ended)} endings in random play brought a reward above all others"
    if len(rewarded) == len(ended):
        yield SuccessRule("terminated", at_least=1), how
    else:
        yield SuccessRule("reward", at_least=_between(max(before), rewarded)), how


def _between(others: float, rewarded: list[float]) -> float:
    """Where rewards count from: little above all others, as one that falls with time can be lower than any in random
    play; their own number, where there is one alone."""
    least = min(rewarded)
    return _short(least if least == max(rewarded) else others + SHARE * (least - others))


def _scored(found: Survey) -> Iterator[Candidate]:
    for key in found.keys:
        scores = [e.highest[key] for e in found.episodes if key in e.highest]
        if key.lower() in SCORES and scores and isfinite(max(scores)):
            yield SuccessRule(key, at_least=max(scores) + 1), f"random play had at most {max(scores):g}"


def _registered(found: Survey) -> Iterator[Candidate]:
    if found.threshold is not None and isfinite(found.threshold):
        yield SuccessRule("return", at_least=found.threshold), "the return that Gymnasium's registry takes for solved"


def _unseen_ending(found: Survey, rule: SuccessRule) -> Iterator[Candidate]:
    if rule.of not in ("terminated", "reward") and not any(e.terminated for e in found.episodes):
        yield SuccessRule("terminated", at_least=1), "if it ends an episode by success alone; it ended none at random"


def _start(found: Survey) -> Candidate:
    low, high = found.rewards
    ends = any(e.terminated for e in found.episodes)
    if low == high == 0:
        return SuccessRule("return", at_least=ANY), "any reward at all: random play had none"
    if low == high and low > 0 and ends:
        return SuccessRule("terminated", at_most=0), "each step is rewarded alike, so that lasting to the end counts"
    if low == high and low < 0:
        return SuccessRule("terminated", at_least=1), "each step costs alike, so that ending early counts"
    each = [reward for e in found.episodes for reward in e.rewards]
    if len(set(each)) == 2 and high > 0 and (share := each.count(high) / len(each)) < RARE:
        how = f"{share:.1%} of the steps in random play brought {high:g}, all others {low:g}: to be there at the end"
        return SuccessRule("reward", at_least=_short(high)), how
    return SuccessRule("return", at_least=_short(found.returns[1])), "the best of random play"


def _short(number: float) -> float:
    """Rounded down to four digits, so that what it was taken from still counts."""
    rounded = float(f"{number:.4g}")
    return rounded if rounded <= number else float(f"{number - abs(number) * 1e-3:.4g}")
