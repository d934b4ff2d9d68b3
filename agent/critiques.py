"""What the critic learns from: answers to one observation whose worth was measured, and how episodes ended."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from agent.episode import Episode, whole_by_task
from agent.pairs import Fork, forks
from agent.rows import Example
from agent.selection import worth_imitating
from envs.observation import Observation
from envs.registry import task
from policies import critic, prompt
from policies.action_codec import AnswerCodec, codec_for

TIE = 0.02  # difference in outcome up to which one answer is as good as another; a step lost is more


def critiques(
    tried: Sequence[Iterable[Episode]],
    ended: Iterable[Episode],
    n: int,
    min_margin: float,
    rng: np.random.Generator,
) -> list[Example]:
    """About `n` examples of what the critic is asked, as many of each task: else it learns which is the easier one.

    Half are about answers, where one observation had several among the episodes `tried`, groups of them, of the later
    groups only what is lacking: the answers that did as well as any, and those whose mean outcome is `min_margin` worse
    or more. Half are about how episodes `ended`, and successes a step before that.
    """
    forked, over = [whole_by_task(group) for group in tried], whole_by_task(ended)
    each, result = n // (2 * max(len(over), 1)), []
    for name, episodes in over.items():
        asked: list[Example] = []
        for group in forked:
            measured = [_alternatives(fork) for fork in forks(group[name])]
            for i in rng.permutation(len(measured)):
                if len(asked) < each:
                    asked += criticised(codec_for(task(name)), *measured[i], min_margin, rng)
        result += asked + concluded(_ends(episodes), each, rng)
    return result


def _ends(episodes: Iterable[Episode]) -> Iterator[tuple[Observation, str, bool]]:
    """What was seen, what there is to say of it, and whether it was done: at each end, and a step before a success."""
    for e in episodes:
        if e.end:
            last = e.steps[-1]
            thought = last.decision.answer.rpartition("; ")[0]
            concluded = task(e.task).concluded
            yield e.end, concluded(thought, e.final_proprioception, e.success), e.success
            if e.success:
                yield last.observation, concluded(thought, last.observation.proprioception, False), False


def _alternatives(fork: Fork) -> tuple[Observation, list[tuple[str, float]]]:
    """The fork's observation and its answers, one for each action, the best first, with their mean outcomes."""
    tried = []
    for value, steps in reversed(fork.ranked()):
        worth = [step for step, _ in steps if worth_imitating(task(fork.task), step)]
        tried.append(((worth or [steps[-1][0]])[-1], value))
    return tried[0][0].observation, [(step.decision.answer, value) for step, value in tried]


def criticised(
    codec: AnswerCodec,
    observation: Observation,
    tried: Sequence[tuple[str, float]],
    min_margin: float,
    rng: np.random.Generator,
    n: int = 1,
    again: bool = True,
) -> list[Example]:
    """At most `n` answers to an observation that did as well as any, and as many that did worse, as questions.

    tried: answers with their measured outcomes, the best first among equals. A critique says which action it would
    take, and how that differs: of an answer that did worse the best one's. With `again`, to answer again after that
    critique is to give the best answer. All have the same frames and the same situation: only the answers can tell them
    apart. None where nothing succeeded, or nothing did worse.
    """
    best, value = max(tried, key=lambda item: item[1])
    good = [answer for answer, outcome in tried if outcome >= value - TIE]
    bad = [answer for answer, outcome in tried if outcome <= value - max(min_margin, TIE) and answer not in good]
    n = min(n, len(good), len(bad)) if value > 0 else 0
    right, wrong = ([str(answer) for answer in rng.permutation(some)[:n]] for some in (good, bad))
    praised = [(answer, critic.critique(codec.instead(answer, answer), True)) for answer in right]
    blamed = [(answer, critic.critique(codec.instead(answer, best), False)) for answer in wrong]
    rows = [Example(observation.frames, prompt.judge(observation, a), c) for a, c in praised + blamed]
    revised = [Example(observation.frames, prompt.revise(observation, *said), best) for said in blamed[:1] if again]
    return rows + revised


def concluded(ends: Iterable[tuple[Observation, str, bool]], n: int, rng: np.random.Generator) -> list[Example]:
    """At most `n` questions whether it is done, half of them yes: what there was at the end, in words too, and success.

    The words are the policy's own, of its last step; whether it is done, the environment told.
    """
    by_success: dict[bool, list[Example]] = {True: [], False: []}
    for end, words, success in ends:
        by_success[success].append(ending(end, words, success))
    each = min(n // 2, *map(len, by_success.values()))
    return [some[i] for some in by_success.values() for i in rng.permutation(len(some))[:each]]


def ending(end: Observation, words: str, success: bool) -> Example:
    """The question whether it is done, answered with what is seen there, in words, and the truth."""
    return Example(end.frames, prompt.done(end), critic.critique(words, success))
