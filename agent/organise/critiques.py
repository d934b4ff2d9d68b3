"""SFT examples for the critic: answers with measured outcomes, contrasts of imitated answers, and labelled endings.

dialect: of the policy that is trained, given the name of a task.
"""

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
from policies import critic
from policies.action_codec import AnswerCodec, codec_for, thought_of
from policies.dialect import TERSE, Dialect, DialectOf, terse


def answer_critiques(
    tried: Iterable[Episode],
    n: int,
    tie: Margin,
    min_margin: Margin | None,
    rng: np.random.Generator,
    dialect: DialectOf = terse,
) -> list[Example]:
    """About `n` examples that judge an answer, equally many of each task, at observations with several answers.

    At each observation: one answer that ties with the best, labelled yes, and one that the best beats by `min_margin`
    (without a margin: that does not tie), labelled no. Where all answers succeed and tie, one of them, labelled yes:
    without such examples the critic learns that any difference from its own action is a fault.
    """
    of_task, result = whole_by_task(tried), []
    for name, episodes in of_task.items():
        rows: list[Example] = []
        found, asked = list(forks(episodes)), dialect(name)
        for i in rng.permutation(len(found)):
            if len(rows) >= n // len(of_task):
                break
            codec, alternatives = codec_for(task(name)), _alternatives(found[i])
            judged = criticised(codec, *alternatives, tie, min_margin, rng, dialect=asked)
            rows += judged or _agreed(codec, *alternatives, tie, rng, asked)
        result += rows
    return result


class LabelledEnd(NamedTuple):
    """The end of an episode: first and last frame (2, H, W, 3), what there is to say of it, and the label."""

    task: str
    observation: Observation
    words: str
    success: bool


def endings(episodes: Iterable[Episode]) -> list[LabelledEnd]:
    """The ends of whole episodes, labelled by the environment's success, with the policy's own words.

    The words are the reason of the policy's conclusion where its verdict was right. Otherwise they are derived from the
    thought of the last step and the label (rationalisation, STaR, Zelikman et al., 2022). Only ends are used: a step
    before a success is not done either, but with many of those the critic's threshold moves past the environment's.
    """
    return [
        LabelledEnd(name, e.end, _words(e), e.success)
        for name, some in whole_by_task(episodes).items()
        for e in some
        if e.end
    ]


def _words(e: Episode) -> str:
    if e.conclusion and (e.conclusion.verdict >= 0.5) == e.success:
        return e.conclusion.reason
    thought = thought_of(e.steps[-1].decision.answer)
    return task(e.task).language.conclude(thought, e.final_proprioception, e.success)


def end_critiques(
    ends: Iterable[LabelledEnd], n: int, rng: np.random.Generator, dialect: DialectOf = terse
) -> list[Example]:
    """At most `n` examples that judge an ending, equally many of each task and of each label.

    With unequal numbers the critic would learn which task is the easier one.
    """
    of_task: defaultdict[str, dict[bool, list[LabelledEnd]]] = defaultdict(lambda: {True: [], False: []})
    for end in ends:
        of_task[end.task][end.success].append(end)
    result = []
    for name, by_success in of_task.items():
        each = min(n // len(of_task) // 2, *map(len, by_success.values()))
        for some in by_success.values():
            result += [ending(*some[i][1:], dialect(name)) for i in rng.permutation(len(some))[:each]]
    return result


def contrasts(kept: Iterable[Episode], n: int, rng: np.random.Generator, dialect: DialectOf = terse) -> list[Example]:
    """At most `n` examples, equally many of each task: the preferred action, given an answer of unknown outcome.

    The preferred action is that of an imitated step; the answer comes from another step. The example has the reason of
    a critique and no verdict: a good action is known at every imitated step, a bad one only where it was tried. Without
    these examples the critic forgets how an action follows from an observation, and its verdicts get worse.
    """
    of_task, result = whole_by_task(kept), []
    for name, episodes in of_task.items():
        codec, steps = codec_for(task(name)), imitated_steps(episodes)
        for i in rng.permutation(len(steps))[: n // len(of_task)]:
            observation, answer = steps[i].observation, steps[i].decision.answer
            other = steps[rng.integers(len(steps))].decision.answer
            question = dialect(name).judge(observation, thought_of(answer), other)
            result.append(Example(observation.packed_frames(), question, codec.instead(other, answer)))
    return result


class Measured(NamedTuple):
    """The answers to one observation, and for each whether its outcome ties with the best."""

    observation: Observation
    answers: list[str]
    good: list[bool]


def measured(tried: Iterable[Episode], tie: Margin) -> dict[str, list[Measured]]:
    """Task -> its observations with several measured answers, at least one of which succeeded."""
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
    """The fork's observation, the critic's thought there, and one answer for each action with its mean outcome.

    The thought is that of the first answer. Of branches that is the root's greedy one, which the critic has when it
    judges.
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
    thought: str,
    tried: Sequence[tuple[str, Outcome]],
    tie: Margin,
    min_margin: Margin | None,
    rng: np.random.Generator,
    n: int = 1,
    best: Outcome | None = None,
    again: bool = True,
    dialect: Dialect = TERSE,
) -> list[Example]:
    """Examples that judge up to `n` answers as good and as many as bad, at one observation.

    Good answers tie with the best outcome. Bad ones are beaten by it by `min_margin`; without a margin, they do not
    tie. All examples have the same frames and situation, so that only the answers tell them apart. There are none
    where nothing succeeded, or where no answer is bad.

    thought: the critic's own thought at the observation. tried: answers with their measured outcomes; the first good
    one has the preferred action, and each critique says how that differs from the judged action. best: the best outcome
    known, where that is not among `tried`. again: adds an example of revision, from the critique of the last bad answer
    to the first good one.
    """
    best = max(value for _, value in tried) if best is None else best
    good = [answer for answer, value in tried if value >= best or value.ties(best, tie)]
    worse = [(answer, value) for answer, value in tried if answer not in good]
    bad = [answer for answer, value in worse if min_margin is None or best.beats(value, min_margin)]
    n = min(n, len(good), len(bad)) if best.success else 0
    right, wrong = ([str(answer) for answer in rng.permutation(some)[:n]] for some in (good, bad))
    said = [(a, critic.critique(codec.instead(a, good[0]), some is right)) for some in (right, wrong) for a in some]
    rows = [Example(observation.packed_frames(), dialect.judge(observation, thought, a), c) for a, c in said]
    revised = [
        Example(observation.packed_frames(), dialect.revise(observation, *last), good[0]) for last in said[-1:] if again
    ]
    return rows + revised


def _agreed(
    codec: AnswerCodec,
    observation: Observation,
    thought: str,
    tried: Sequence[tuple[str, Outcome]],
    tie: Margin,
    rng: np.random.Generator,
    dialect: Dialect,
) -> list[Example]:
    """An example that judges one answer, drawn at random, as good, where all succeeded and tie; else none.

    The first answer has the preferred action.
    """
    worst, *_, best = sorted(value for _, value in tried)
    if not worst.success or not best.ties(worst, tie):
        return []
    answers = [answer for answer, _ in tried]
    answer = str(rng.choice(answers))
    said = critic.critique(codec.instead(answer, answers[0]), True)
    return [Example(observation.packed_frames(), dialect.judge(observation, thought, answer), said)]


def ending(end: Observation, words: str, success: bool, dialect: Dialect = TERSE) -> Example:
    """The example that judges an ending: `words` as the reason, the label as the verdict."""
    return Example(end.packed_frames(), dialect.done(end), critic.critique(words, success))
