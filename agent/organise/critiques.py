"""What the critic learns from: answers whose worth was measured at one state, what succeeded, how episodes ended."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from agent.config import Margin
from agent.organise.episode import Episode, whole_by_task
from agent.organise.outcome import Outcome, mean
from agent.organise.pairs import Fork, forks
from agent.organise.rows import Example
from agent.organise.selection import imitated_steps, worth_imitating
from envs.observation import Observation
from envs.registry import task
from policies import critic, prompt
from policies.action_codec import AnswerCodec, codec_for, thought_of


def answer_critiques(
    tried: Iterable[Episode], n: int, tie: Margin, min_margin: Margin | None, rng: np.random.Generator
) -> list[Example]:
    """About `n` examples, as many of each task, about answers, where one observation had several.

    One that ties with the best and one that the best beats by `min_margin`, or, without one, that does not tie; where
    all tie one of them: a critic that is asked only where answers differ in worth takes any difference for a fault.
    """
    of_task, result = whole_by_task(tried), []
    for name, episodes in of_task.items():
        asked: list[Example] = []
        parted = list(forks(episodes))
        for i in rng.permutation(len(parted)):
            if len(asked) >= n // len(of_task):
                break
            codec, alternatives = codec_for(task(name)), _alternatives(parted[i])
            asked += criticised(codec, *alternatives, tie, min_margin, rng) or _agreed(codec, *alternatives, tie, rng)
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


def contrasts(kept: Iterable[Episode], n: int, rng: np.random.Generator) -> list[Example]:
    """At most `n` examples, as many of each task: what to do instead of an answer whose outcome was not measured.

    What to do is the action of an imitated success, the other answer comes from another step, and there is no verdict.
    Good actions are known at every imitated step, bad ones only where they were tried. Without these examples the
    critic forgets how an action follows from an observation, and its verdicts get worse.
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


class Measured(NamedTuple):
    """The answers to one observation, and whether each ties with the best of them."""

    observation: Observation
    answers: list[str]
    good: list[bool]


def measured(tried: Iterable[Episode], tie: Margin) -> dict[str, list[Measured]]:
    """Task -> the observations that had several answers and a success."""
    result = {}
    for name, episodes in whole_by_task(tried).items():
        result[name] = []
        for observation, _, answers in map(_alternatives, forks(episodes)):
            best = max(value for _, value in answers)
            if best.success:
                good = [value.ties(best, tie) for _, value in answers]
                result[name].append(Measured(observation, [answer for answer, _ in answers], good))
    return result


def _alternatives(fork: Fork) -> tuple[Observation, str, list[tuple[str, Outcome]]]:
    """The fork's observation, what was seen there, and its answers, one for each action, with their mean outcomes.

    What was seen is the thought of the answer given first: of branches the greedy one, which the critic goes by.
    """
    first, tried = next(iter(fork.outcomes.values()))[0][0], []
    for steps in fork.outcomes.values():
        best_last = sorted(steps, key=lambda item: item[1])
        worth = [step for step, _ in best_last if worth_imitating(task(fork.task), step)]
        answer = (worth or [best_last[-1][0]])[-1].decision.answer
        tried.append((answer, mean(value for _, value in steps)))
    return first.observation, thought_of(first.decision.answer), tried


def criticised(
    codec: AnswerCodec,
    observation: Observation,
    sight: str,
    tried: Sequence[tuple[str, Outcome]],
    tie: Margin,
    min_margin: Margin | None,
    rng: np.random.Generator,
    n: int = 1,
    best: Outcome | None = None,
    again: bool = True,
) -> list[Example]:
    """At most `n` answers to an observation that tie with the best, and as many that did worse, as questions.

    Worse are those that the best beats by `min_margin`; without one, all that do not tie with it.

    sight: what the critic sees there. tried: answers with their measured outcomes; of those that did best the first is
    what the critic is to do, and each critique says how that differs from the answer. best: the best outcome that is
    known of, else that of the best answer. With `again`, to answer again after the critique of one that did worse is to
    give the best. All have the same frames and the same situation: only the answers can tell them apart. None where
    nothing succeeded, or nothing did worse.
    """
    best = max(value for _, value in tried) if best is None else best
    good = [answer for answer, value in tried if value >= best or value.ties(best, tie)]
    worse = [(answer, value) for answer, value in tried if answer not in good]
    bad = [answer for answer, value in worse if min_margin is None or best.beats(value, min_margin)]
    n = min(n, len(good), len(bad)) if best.success else 0
    right, wrong = ([str(answer) for answer in rng.permutation(some)[:n]] for some in (good, bad))
    said = [(a, critic.critique(codec.instead(a, good[0]), some is right)) for some in (right, wrong) for a in some]
    rows = [Example(observation.frames, prompt.judge(observation, sight, a), c) for a, c in said]
    revised = [Example(observation.frames, prompt.revise(observation, *last), good[0]) for last in said[-1:] if again]
    return rows + revised


def _agreed(
    codec: AnswerCodec,
    observation: Observation,
    sight: str,
    tried: Sequence[tuple[str, Outcome]],
    tie: Margin,
    rng: np.random.Generator,
) -> list[Example]:
    """One of the answers as a question, to be answered by yes, if all succeeded and tie; the critic does the first."""
    worst, *_, best = sorted(value for _, value in tried)
    if not worst.success or not best.ties(worst, tie):
        return []
    answers = [answer for answer, _ in tried]
    answer = str(rng.choice(answers))
    said = critic.critique(codec.instead(answer, answers[0]), True)
    return [Example(observation.frames, prompt.judge(observation, sight, answer), said)]


def ending(end: Observation, words: str, success: bool) -> Example:
    """The question whether it is done, answered with what is seen there, in words, and the truth."""
    return Example(end.frames, prompt.done(end), critic.critique(words, success))
