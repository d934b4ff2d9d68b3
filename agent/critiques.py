"""What the critic learns from: answers to one observation whose worth was measured, and how episodes ended."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from agent.episode import Episode
from agent.pairs import Fork, forks
from agent.rows import Example
from agent.selection import worth_imitating
from envs.observation import Observation
from envs.registry import task
from policies import critic, prompt

TIE = 0.02  # difference in outcome up to which one answer is as good as another; a step lost is more
NEAR = 1  # difference up to which two numbers say the same


def critiques(episodes: Sequence[Episode], n: int, min_margin: float, rng: np.random.Generator) -> list[Example]:
    """About `n` examples of what the critic is asked, as many of each task: else it learns which is the easier one.

    Half are about answers, where one observation had several (at the same state, or attempts from one start): those
    that did as well as any, and those whose mean outcome is `min_margin` worse or more. Half are about endings.
    """
    of_task: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        if episode.ending != "broken":
            of_task[episode.task].append(episode)
    result = []
    for some in of_task.values():
        each = n // (2 * len(of_task))
        measured = [_alternatives(fork) for fork in forks(some)]
        asked: list[Example] = []
        for i in rng.permutation(len(measured)):
            if len(asked) < each:
                asked += criticised(*measured[i], min_margin, rng)
        result += asked + concluded([(e.end, e.success) for e in some if e.end], each, rng)
    return result


def _alternatives(fork: Fork) -> tuple[Observation, list[tuple[str, float]]]:
    """The fork's observation and its answers, one for each action, the best first, with their mean outcomes."""
    tried = []
    for value, steps in reversed(fork.ranked()):
        worth = [step for step, _ in steps if worth_imitating(task(fork.task), step)]
        tried.append(((worth or [steps[-1][0]])[-1], value))
    return tried[0][0].observation, [(step.decision.answer, value) for step, value in tried]


def criticised(
    observation: Observation, tried: Sequence[tuple[str, float]], min_margin: float, rng: np.random.Generator
) -> list[Example]:
    """One of the answers to an observation that did as well as any, and one that did worse, as questions.

    tried: answers with their measured outcomes, the best first among equals. Of one that did worse the critique says
    what the best says instead, and the answer after that critique is the best one. Both have the same frames and the
    same situation: only the answer can tell them apart. None where nothing succeeded, or nothing did worse.
    """
    best, value = max(tried, key=lambda item: item[1])
    good = [answer for answer, outcome in tried if outcome >= value - TIE]
    bad = [answer for answer, outcome in tried if outcome <= value - max(min_margin, TIE) and answer not in good]
    if value == 0 or not bad:
        return []
    right, wrong = str(rng.choice(good)), str(rng.choice(bad))
    critique = critic.objection(otherwise(wrong, best))
    return [
        Example(observation.frames, prompt.judge(observation, right), critic.YES),
        Example(observation.frames, prompt.judge(observation, wrong), critique),
        Example(observation.frames, prompt.revise(observation, wrong, critique), best),
    ]


def otherwise(answer: str, better: str) -> str:
    """The first part of the better answer that says something else, numbers next to each other being the same."""
    parts = zip(better.split("; "), answer.split("; "), strict=False)
    return next((part for part, other in parts if not _alike(part, other)), better.rpartition("; ")[2])


def _alike(part: str, other: str) -> bool:
    number = r"[+-]?\d+"
    if re.sub(number, "#", part) != re.sub(number, "#", other):
        return False
    numbers = zip(re.findall(number, part), re.findall(number, other), strict=True)
    return all(abs(int(a) - int(b)) <= NEAR for a, b in numbers)


def concluded(ends: Iterable[tuple[Observation, bool]], n: int, rng: np.random.Generator) -> list[Example]:
    """At most `n` questions whether it is done, half of them yes, of what was seen at the end and the success."""
    by_success: dict[bool, list[Example]] = {True: [], False: []}
    for end, success in ends:
        verdict = critic.YES if success else critic.NO
        by_success[success].append(Example(end.frames, prompt.done(end), verdict))
    each = min(n // 2, *map(len, by_success.values()))
    return [some[i] for some in by_success.values() for i in rng.permutation(len(some))[:each]]
