"""Which stored steps a run trained on, rows of SFT and preference pairs, by the numbers of the page's episodes.

They are selected again (`agent.record.selected`); their numbers are compared with those that the run recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.config.run import Select
from agent.organise import pairs
from agent.organise.episode import Episode, Step
from agent.organise.outcome import mean
from agent.record.report.contents import PairRow, Side, Training
from agent.record.report.reading import Run
from agent.record.selected import Selected
from envs.errors import UserError
from envs.validation import checked

NumberOf = Callable[[Episode], int]  # of an episode as it was read


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
        selected = Selected(checked(Select, run.config["select"]), run.config["tasks"], run.methods, run.of)
        for number in run.rounds:
            _imitated(run, number, selected, number_of, found)
            _preferred(run, number, selected, number_of, found)
    except (UserError, KeyError, ValueError) as error:  # such as words that its language no longer says
        run.absent.append(f"training rows and pairs cannot be selected again: {error}")
        return Lineage()
    return found


def _imitated(run: Run, number: int, selected: Selected, number_of: NumberOf, found: Lineage) -> None:
    """Add the rows of SFT of a round, whose stage `imitate` is done."""
    if "sft_examples" not in run.rows[number]:
        return
    sources = range(max(1, number - selected.select.rounds + 1), number + 1)
    for source in sources:
        if source not in found.imitated_in:
            found.imitated_in[source] = []
            _add_rows(source, selected, number_of, found)
        found.imitated_in[source].append(number)
    rows = sum(len(each.steps) for each in found.trained if each.round in sources)
    _compare(run, number, "rows of SFT", rows, run.rows[number]["sft_examples"])


def _add_rows(source: int, selected: Selected, number_of: NumberOf, found: Lineage) -> None:
    row = sum(len(each.steps) for each in found.trained)
    for each in selected.imitated(source):
        answers = {i: each.episode.steps[i].decision.answer for i in each.steps}
        relabelled = {i: answer for i, answer in answers.items() if answer != each.stored.steps[i].decision.answer}
        found.trained.append(Training(source, number_of(each.stored), each.steps, row, relabelled))
        row += len(each.steps)


def _preferred(run: Run, number: int, selected: Selected, number_of: NumberOf, found: Lineage) -> None:
    """Add the pairs of a round, whose stage `prefer` is done."""
    if "pairs" not in run.rows[number] or "unhealthy" in run.rows[number]:
        return
    preferences, places = selected.preferences(number)
    numbers = {key: (number_of(each.stored), i) for key, (each, i) in places.items()}
    for each in preferences:
        chosen, rejected = (
            _side(step, steps, numbers) for step, steps in ((each.chosen, each.winners), (each.rejected, each.losers))
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


def _compare(run: Run, number: int, what: str, selected: int, recorded: int) -> None:
    if selected != recorded:
        run.absent.append(f"round {number}: {selected} {what} selected again, {recorded} recorded by the run")
