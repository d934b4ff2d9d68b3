"""Where a run is: the stages that its journal tells of, and what is under way."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from agent.organise.store import EpisodeStore
from agent.record.run.journal import FILE, Done, Journal
from agent.record.run.underway import FOLDER
from agent.record.rundir import is_written
from agent.record.tables import plain_table
from envs.errors import UserError

COUNTS = ("env_steps", "branch_env_steps", "verify_env_steps", "frames")
LONGEST = 4  # stages whose share of the time is told
LAST = "evaluate after"  # the stage after which a run is complete


@dataclass(frozen=True)
class State:
    """done: its stages. under_way: the stage that was begun, with its finished episodes. written: whether a process
    writes into the folder now. rounds: of the config."""

    done: list[Done]
    under_way: list[str]
    written: bool
    complete: bool
    rounds: int

    @property
    def text(self) -> str:
        """The state in one line."""
        if self.complete:
            return f"complete: {self.rounds} rounds"
        begun = max([0, *(done.round for done in self.done), *(int(stage[:3]) for stage in self.under_way)])
        now = "runs now" if self.written else "does not run"
        return f"round {begun} of {self.rounds}, {now}" + "".join(f"; under way: {stage}" for stage in self.under_way)

    def record(self) -> dict[str, Any]:
        """The state as JSON can hold it."""
        stages = [{"round": d.round, "stage": d.stage, "wall_s": d.wall_s, "spent": d.spent} for d in self.done]
        state = {name: getattr(self, name) for name in ("complete", "written", "rounds", "under_way")}
        return state | {"stages": stages}


def state(run: Path) -> State:
    """Raises UserError for a folder that holds no run."""
    if not (run / FILE).is_file():
        raise UserError(f"no run in {str(run)!r} (no {FILE}); valid: the folder of a `handeye improve`")
    journal = Journal(run)
    rounds = journal.begun["config"]["rounds"]
    done = {f"{done.round:03d} {done.stage}" for done in journal.done}
    partial = [folder for folder in sorted((run / FOLDER).glob("*")) if folder.is_dir() and folder.name not in done]
    complete = journal.find(rounds, LAST) is not None
    return State(journal.done, [_progress(folder) for folder in partial], is_written(run), complete, rounds)


def table(where: State) -> Table:
    """What each stage took: seconds; environment steps of practice and evaluation, of branches and of certificates;
    frames."""
    shown = plain_table("", ("round", "stage", "s", "steps", "of branches", "of certificates", "frames"))
    for done in where.done:
        counts = (f"{done.spent.get(name, 0):,}" for name in COUNTS)
        shown.add_row(str(done.round), done.stage, f"{done.wall_s:.1f}", *counts)
    return shown


def took(done: Done, stages: Iterable[Done]) -> str:
    """Where the time goes, in one line: of a stage, and of all so far by name, the longest first."""
    steps = sum(done.spent.get(name, 0) for name in COUNTS[:3])
    line = f"round {done.round}, {done.stage}: {done.wall_s:.1f} s"
    if steps and done.wall_s:
        line += f", {steps:,} environment steps, {steps / done.wall_s:,.0f}/s"
    by_name = Counter[str]()
    for each in stages:
        by_name[each.stage.split()[0]] += each.wall_s
    total = sum(by_name.values())
    shares = ", ".join(f"{name} {100 * s / total:.0f} %" for name, s in by_name.most_common(LONGEST) if total)
    return f"{line}; {total:.0f} s so far: {shares}"


def _progress(folder: Path) -> str:
    """A stage that is under way, with the finished episodes of its latest rollout."""
    rollouts = sorted(path for path in (folder / "rollouts").glob("*") if path.is_dir())
    if not rollouts:
        return folder.name
    ended = sum(1 for _ in EpisodeStore(rollouts[-1]).undamaged(lambda damage: None))
    return f"{folder.name} ({rollouts[-1].name}: {ended} episodes)"
