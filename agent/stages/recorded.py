"""Rows that a round of a recorded run was trained on, with the prompts of the run's policies. Only read."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from agent.config import Config
from agent.organise.pairs import Preference
from agent.organise.rows import Example
from agent.record.export.training import RecordedExample
from agent.record.run.journal import Journal
from agent.record.rundir import RunFolder
from agent.record.selected import Selected
from agent.stages.optimise import OPTIMISERS
from agent.stages.round import Round
from envs.errors import unknown
from envs.validation import checked
from policies.base import find_policy

TRAININGS = {training.__name__ for training in OPTIMISERS.values()}  # names of their stages


class RecordedRound(Round):
    """A round that is only read: it rolls nothing out, and writes nothing."""

    def __init__(self, number: int, config: Config, run: RunFolder):
        super().__init__(number, config, run, workers=None, tracker=None, budget={})

    @cached_property
    def _seed_policy(self) -> Path:
        """A policy that the run made, which says how all are asked: the seed itself may be gone."""
        made = [
            path for kind in ("config", "adapter_config") for path in self.run.path.glob(f"round_*/policy/{kind}.json")
        ]
        return min(made).parent if made else find_policy(self.config.policy)

    @property
    def _selected(self) -> Selected:
        c = self.config
        return Selected(c.select, c.tasks, c.optimise, lambda number, *names: self._at(number).episodes(*names))

    def _at(self, number: int) -> Round:
        return self.before(self.number - number)

    def preferences(self) -> list[Preference]:
        """The preferences that the stage `prefer` makes pairs of, the largest margins first, none of them flipped."""
        return self._selected.preferences(self.number)[0]

    def examples(self) -> Iterator[RecordedExample]:
        """The examples that the stage `imitate` makes of the round's own successes; without those of rounds before."""
        for each in self._selected.imitated(self.number):
            e = each.episode
            for i in each.steps:
                o = e.steps[i].observation
                example = Example(o.packed_frames(), self.dialect(e.task).act(o), e.steps[i].decision.answer)
                yield RecordedExample(example, e.task, e.seed, e.attempt, i, e.steps[i].fingerprint)


def recorded_rounds(journal: Journal, number: int | None = None) -> list[RecordedRound]:
    """The rounds of a run that were trained, or one of them.

    Raises UserError for a round that was not trained, and for a config of a version that had other keys.
    """
    run = journal.path.parent
    trained = list(dict.fromkeys(done.round for done in journal.done if done.stage.split()[0] in TRAININGS))
    if number is not None and number not in trained:
        raise unknown(f"trained round of {str(run)!r}", number, map(str, trained))
    config = checked(Config, journal.begun["config"])
    return [RecordedRound(n, config, RunFolder(run)) for n in (trained if number is None else [number])]


def trained_pairs(journal: Journal, rounds: Iterable[RecordedRound]) -> int:
    """How many pairs these rounds were trained on, by the run's journal."""
    numbers = {r.number for r in rounds}
    trained = (done for done in journal.done if done.round in numbers and done.stage.split()[0] == "prefer")
    return sum(done.row.get("pairs", 0) for done in trained)
