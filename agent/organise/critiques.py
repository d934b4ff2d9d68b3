"""What the critic learns from: answers whose worth was measured at one state, what succeeded, how episodes ended."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from agent.organise.episode import Episode, whole_by_task
from agent.organise.pairs import Fork, forks
from agent.organise.rows import Example
from agent.organise.selection import imitated_steps, worth_imitating
from envs.observation import Observation
from envs.registry import task
from policies import critic, prompt
from policies.action_codec import AnswerCodec, codec_for, thought_of

TIE = 0.02  # difference in outcome up to which one answer is as good as another; a step lost is more


def answer_critiques(tried: Iterable[Episode], n: int, min_margin: float, rng: np.random.Generator) -> list[Example]:
    """About `n` examples, as many of each task, about answers, where one observation had several.

    One that did as well as any and one whose mean outcome is worse by `min_margin` or more; where all did equally well
    one of them: a critic that is asked only where answers differ in worth takes any difference for a fault.
    """
    of_task, result = whole_by_task(tried), []
    for name, episodes in of_task.items():
        asked: list[Example] = []
        parted = list(forks(episodes))
        for i in rng.permutation(len(parted)):
            if len(asked) >= n // len(of_task):
                break
            codec, alternatives = codec_for(task(name)), _alternatives(parted[i])
            asked += criticised(codec, *alternatives, min_margin, rng) or _agreed(codec, *alternatives, rng)
        result += asked
    return result


class Ending(NamedTuple):
    """What was seen when an episode of a task was over, in words too, and whether it was done."""

    task: str
    seen: Observation
    words: str
    success: bool


def endings(episodes: Iterable[Episode]) -> list[Ending]:
    """How whole episodes ended, by what the environment told, in the words of the policy.

    Those of its conclusion, if that was right; else those of its last step, corrected (reasons that lead to the right
    answer, else to be rationalised: STaR, Zelikman et al., 2022). Only what ended is asked about. A step before a
    success is not done either, but hardly an ending: with many of those the critic draws its line before the one that
    the environment draws.
    """
    return [
        Ending(name, e.end, _said(e), e.success)
        for name, some in whole_by_task(episodes).items()
        for e in some
        if e.end
    ]


def _said(e: Episode) -> str:
    if e.conclusion and (e.conclusion.verdict >= 0.5) == e.success:
        return e.conclusion.reason
    thought = thought_of(e.steps[-1].decision.answer)
    return task(e.task).language.conclude(thought, e.final_proprioception, e.success)


def end_critiques(ended: Iterable[Ending], n: int, rng: np.random.Generator) -> list[Example]:
    """At most `n` questions whether it is done, as many of each task, half of them to be answered by yes.

    As many of each task: else the critic learns which is the easier one.
    """
    of_task: defaultdict[str, dict[bool, list[Ending]]] = defaultdict(lambda: {True: [], False: []})
    for one in ended:
        of_task[one.task][one.success].append(one)
    result = []
    for by_success in of_task.values():
        each = min(n // len(of_task) // 2, *map(len, by_success.values()))
        for some in by_success.values():
            result += [ending(*some[i][1:]) for i in rng.permutation(len(some))[:each]]
    return result


def comparisons(kept: Iterable[Episode], n: int, rng: np.random.Generator) -> list[Example]:
    """At most `n` examples, as many of each task, of what to do instead of an answer that nobody measured.

    What to do is what was done in the successes that are imitated, the other answer is of another moment, and there is
    no verdict. What succeeds is known of every step that is imitated, what would have failed only where it was tried:
    without these examples the critic forgets how an action follows from what it sees, and its verdicts with it.
    """
    of_task, result = whole_by_task(kept), []
    for name, episodes in of_task.items():
        codec, steps = codec_for(task(name)), imitated_steps(episodes)
        for i in rng.permutation(len(steps))[: n // len(of_task)]:
            observation, answer = steps[i].observation, steps[i].decision.answer
            other = steps[rng.integers(len(steps))].decision.answer
            question = prompt.judge(observation, thought_of(answer), other)
            result.append(Example(observation.frames, question, codec.instead(other, answer)))
    return result


def measured(tried: Iterable[Episode]) -> dict[str, list[tuple[Observation, str, bool]]]:
    """Task -> the answers to each observation that had several and a success, and whether they did as well as any."""
    result = {}
    for name, episodes in whole_by_task(tried).items():
        result[name] = []
        for observation, _, answers in map(_alternatives, forks(episodes)):
            best = max(outcome for _, outcome in answers)
            if best > 0:
                result[name] += [(observation, answer, outcome >= best - TIE) for answer, outcome in answers]
    return result


def _alternatives(fork: Fork) -> tuple[Observation, str, list[tuple[str, float]]]:
    """The fork's observation, what was seen there, and its answers, one for each action, with their mean outcomes.

    What was seen is the thought of the answer given first: of branches the greedy one, which the critic goes by.
    """
    first, tried = next(iter(fork.outcomes.values()))[0][0], []
    for steps in fork.outcomes.values():
        best_last = sorted(steps, key=lambda item: item[1])
        worth = [step for step, _ in best_last if worth_imitating(task(fork.task), step)]
        answer = (worth or [best_last[-1][0]])[-1].decision.answer
        tried.append((answer, float(np.mean([outcome for _, outcome in steps]))))
    return first.observation, thought_of(first.decision.answer), tried


def criticised(
    codec: AnswerCodec,
    observation: Observation,
    sight: str,
    tried: Sequence[tuple[str, float]],
    min_margin: float,
    rng: np.random.Generator,
    n: int = 1,
    value: float | None = None,
    again: bool = True,
) -> list[Example]:
    """At most `n` answers to an observation that did as well as any, and as many that did worse, as questions.

    sight: what the critic sees there. tried: answers with their measured outcomes; of those that did best the first is
    what the critic is to do, and each critique says how that differs from the answer. value: of the best that is known
    of, else that of the best answer. With `again`, to answer again after the critique of one that did worse is to give
    the best. All have the same frames and the same situation: only the answers can tell them apart. None where nothing
    succeeded, or nothing did worse.
    """
    value = max(outcome for _, outcome in tried) if value is None else value
    good = [answer for answer, outcome in tried if outcome >= value - TIE]
    bad = [answer for answer, outcome in tried if outcome <= value - max(min_margin, TIE) and answer not in good]
    n = min(n, len(good), len(bad)) if value > 0 else 0
    right, wrong = ([str(answer) for answer in rng.permutation(some)[:n]] for some in (good, bad))
    said = [(a, critic.critique(codec.instead(a, good[0]), some is right)) for some in (right, wrong) for a in some]
    rows = [Example(observation.frames, prompt.judge(observation, sight, a), c) for a, c in said]
    revised = [Example(observation.frames, prompt.revise(observation, *last), good[0]) for last in said[-1:] if again]
    return rows + revised


def _agreed(
    codec: AnswerCodec,
    observation: Observation,
    sight: str,
    tried: Sequence[tuple[str, float]],
    rng: np.random.Generator,
) -> list[Example]:
    """One of the answers as a question, to be answered by yes, if they did equally well; the critic does the first."""
    outcomes = [outcome for _, outcome in tried]
    if min(outcomes) <= 0 or max(outcomes) - min(outcomes) > TIE:
        return []
    answers = [answer for answer, _ in tried]
    answer = str(rng.choice(answers))
    said = critic.critique(codec.instead(answer, answers[0]), True)
    return [Example(observation.frames, prompt.judge(observation, sight, answer), said)]


def ending(end: Observation, words: str, success: bool) -> Example:
    """The question whether it is done, answered with what is seen there, in words, and the truth."""
    return Example(end.frames, prompt.done(end), critic.critique(words, success))
