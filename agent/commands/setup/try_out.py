"""`handeye try`: what is measured of a task before anything is learned on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.measure.ladder.rungs import Ladder


@dataclass(frozen=True)
class Try:
    """The ladder of a task: its picture, random play, doing nothing, the expert, the expert through the codec, starts,
    certificates, restored states, time, memory, tokens; and what of it will hold the loop up."""

    task: str  # a YAML file that declares a task, or a name from `handeye tasks`
    frame: Path | None = None  # where to save the frames of its first observation, as an image (NAME.png)
    episodes: int = 30  # of each player, at most; fewer where they take longer than `seconds`
    seconds: float = 8.0  # [s] of a measurement, after which no further episode begins
    workers: int = 1  # processes that play
    trust: bool = False  # load an expert's .zip that does not ship, which can run code
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output

    def run(self) -> None:
        """Raises UserError, before anything is measured, for a task that cannot be played."""
        from agent.commands.arguments import at_least, vouch
        from agent.commands.outputs import document, emit, file
        from agent.commands.probing import probe_apart
        from agent.measure.ladder.advice import hold_ups
        from agent.measure.ladder.climbing import climb
        from agent.measure.ladder.playing import Effort
        from agent.record.console import console

        at_least(1, episodes=self.episodes, workers=self.workers)
        at_least(0, seconds=self.seconds)
        frame = file(self.frame or Path(f"{Path(self.task).stem}.png"))
        out = document(self.json)
        probe_apart((self.task,))
        if self.trust:
            vouch(tasks=(self.task,))
        with console.status("") as status:
            effort = Effort(self.episodes, self.seconds, self.workers)
            ladder = climb(self.task, frame, effort, lambda rung: status.update(rung))
        lines = hold_ups(ladder)
        _print(ladder, lines)
        emit(out, _numbers(ladder, lines))


def _print(ladder: "Ladder", lines: list[str]) -> None:
    from rich import box
    from rich.table import Table

    from agent.record.console import show

    table = Table(title=ladder.task, box=box.SIMPLE, padding=(0, 1, 0, 0), show_header=False)
    for name, rung in ladder.rungs.items():
        table.add_row(name, rung.said())
    show(table)
    show("What will hold the loop up:" if lines else "Nothing that was measured will hold the loop up.")
    for i, line in enumerate(lines, 1):
        show(f"{i}. {line}")


def _numbers(ladder: "Ladder", lines: list[str]) -> dict[str, Any]:
    rungs: dict[str, Any] = {
        name: {"kind": type(r).__name__.lower(), **r.numbers()} for name, r in ladder.rungs.items()
    }
    return {"task": ladder.task, "rungs": rungs, "holds_up": lines}
