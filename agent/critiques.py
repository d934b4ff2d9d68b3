"""What the critic learns from: answers whose worth was measured at one state, what succeeded, how episodes ended."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from agent.episode import Episode, whole_by_task
from agent.pairs import Fork, forks
from agent.rows import Example
from agent.selection import imitated_steps, worth_imitating
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


def end_critiques(ended: Iterable[Episode], n: int, rng: np.random.Generator) -> list[Example]:
    """At most `n` examples, as many of each task, about how episodes ended, and successes a step before that.

    As many of each task: else the critic learns which is the easier one.
    """
    of_task = whole_by_task(ended)
    return [example for some in of_task.values() for example in concluded(_ends(some), n // len(of_task), rng)]


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


def _ends(episodes: Iterable[Episode]) -> Iterator[tuple[Observation, str, bool]]:
    """What was seen, what there is to say of it, and whether it was done: at each end, and a step before a success."""
    for e in episodes:
        if e.end:
            last = e.steps[-1]
            thought = thought_of(last.decision.answer)
            concluded = task(e.task).concluded
            yield e.end, concluded(thought, e.final_proprioception, e.success), e.success
            if e.success:
                yield last.observation, concluded(thought, last.observation.proprioception, False), False


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
