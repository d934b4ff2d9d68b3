"""Which stored steps a run trained on: rows of SFT, and preference pairs, selected again from its committed episodes.

A run stores episodes, not rows. Selection is a pure function of the episodes and the config (`agent.organise`), so that
it gives the same rows again; their numbers are compared with those that the run recorded.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from agent.config.run import Select
from agent.organise import pairs, selection
from agent.organise.episode import Episode, Step
from agent.organise.outcome import mean
from agent.record.report.contents import PairRow, Side, Training
from agent.record.report.reading import Run
from envs import registry
from envs.errors import UserError
from envs.validation import checked

NumberOf = Callable[[Episode], int]  # of an episode as it was read
Learned = tuple[int, Episode, Episode]  # number; the episode as it was read, and as it was trained on


@dataclass
class Lineage:
    """trained: the imitated episodes, by the round whose practice they come from. imitated_in: that round -> the rounds
    that trained on it."""

    trained: list[Training] = field(default_factory=list)
    imitated_in: dict[int, list[int]] = field(default_factory=dict)
    pairs: list[PairRow] = field(default_factory=list)


def lineage(run: Run, number_of: NumberOf) -> Lineage:
    """What the rounds trained on. Where it cannot be told, such as for a declared task whose file is elsewhere, a line
    of `run.absent` says why."""
    found = Lineage()
    try:
        select = checked(Select, run.config["select"])
        for number in run.rounds:
            _imitated(run, number, select, number_of, found)
            _preferred(run, number, select, number_of, found)
    except (UserError, KeyError, ValueError) as error:  # such as words that its language no longer says
        run.absent.append(f"training rows and pairs cannot be selected again: {error}")
        return Lineage()
    return found


def _imitated(run: Run, number: int, select: Select, number_of: NumberOf, found: Lineage) -> None:
    """Add the rows of SFT of a round, whose stage `imitate` is done."""
    if "sft_examples" not in run.rows[number]:
        return
    sources = range(max(1, number - select.rounds + 1), number + 1)
    for source in sources:
        if source not in found.imitated_in:
            found.imitated_in[source] = []
            _add_rows(run, source, select, number_of, found)
        found.imitated_in[source].append(number)
    selected = sum(len(each.steps) for each in found.trained if each.round in sources)
    _compare(run, number, "rows of SFT", selected, run.rows[number]["sft_examples"])


def _add_rows(run: Run, source: int, select: Select, number_of: NumberOf, found: Lineage) -> None:
    learned = _practice(run, source, select, number_of)
    of = {id(episode): (number, original) for number, original, episode in learned}
    row = sum(len(each.steps) for each in found.trained)
    for episode in selection.keep([episode for *_, episode in learned], select.per_start):
        number, original = of[id(episode)]
        places = {id(step): i for i, step in enumerate(episode.steps)}
        answers = {places[id(step)]: step.decision.answer for step in selection.imitated_steps([episode])}
        relabelled = {i: answer for i, answer in answers.items() if answer != original.steps[i].decision.answer}
        if answers:
            found.trained.append(Training(source, number, list(answers), row, relabelled))
            row += len(answers)


def _preferred(run: Run, number: int, select: Select, number_of: NumberOf, found: Lineage) -> None:
    """Add the pairs of a round, whose stage `prefer` is done."""
    if "pairs" not in run.rows[number] or "unhealthy" in run.rows[number]:
        return
    branched = _learned(select, run.branches(number, "dpo"), number_of, relabelled=True)
    inexact = registry.inexact(run.config["tasks"])
    practised = _practice(run, number, select, number_of)
    tried = [*branched, *(each for each in practised if not branched or each[2].task in inexact)]
    places = {id(step): (n, i) for n, _, episode in tried for i, step in enumerate(episode.steps)}
    bounds = select.min_margin, select.max_pairs, select.pair_p_value, select.rejected
    preferences = pairs.preferences([episode for *_, episode in tried], *bounds)
    for each in preferences:
        chosen, rejected = (
            _side(step, steps, places) for step, steps in ((each.chosen, each.winners), (each.rejected, each.losers))
        )
        found.pairs.append(
            PairRow(
                number,
                each.task,
                each.seed,
                chosen,
                rejected,
                tuple(each.margin),
                each.p_value,
                each.chosen.fingerprint.hex(),
            )
        )
    _compare(run, number, "pairs", len(preferences), run.rows[number]["pairs"])


def _side(step: Step, steps: Sequence[tuple[Step, pairs.Outcome]], places: dict[int, tuple[int, int]]) -> Side:
    outcomes = [value for _, value in steps]
    wins = sum(value.success > 0 for value in outcomes)
    return Side(*places[id(step)], step.decision.answer, wins, len(outcomes), mean(outcomes).saved)


def _practice(run: Run, number: int, select: Select, number_of: NumberOf) -> list[Learned]:
    """The training data of a round, as `agent.stages.round.Round.practice` tells it."""
    own = [*run.of(number, "episodes", "archived"), *run.branches(number - 1)]
    return [
        *_learned(select, own, number_of),
        *_learned(select, run.of(number, "relabelled"), number_of, relabelled=True),
    ]


def _learned(
    select: Select, episodes: Iterable[Episode], number_of: NumberOf, relabelled: bool = False
) -> list[Learned]:
    """The episodes with the labels and thoughts that were trained on. relabelled: not labelled by the critic."""
    result = []
    for original in episodes:
        labelled = selection.as_judged([original]) if select.by == "critic" and not relabelled else [original]
        corrected = selection.hindsight(labelled) if select.hindsight else labelled
        result += [(number_of(original), original, episode) for episode in corrected]
    return result


def _compare(run: Run, number: int, what: str, selected: int, recorded: int) -> None:
    if selected != recorded:
        run.absent.append(f"round {number}: {selected} {what} selected again, {recorded} recorded by the run")
