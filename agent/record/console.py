"""The terminal: results, notes, and progress bars with the rate and the time left."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from agent.organise.episode import Episode

T = TypeVar("T")
console = Console()  # progress and notes: `quiet` is set by `--quiet`
_results = Console()  # what a command was asked for: always printed


def say(line: str) -> None:
    """Print a line as it is: names and messages may hold what rich takes for markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def show(result: str | Table) -> None:
    """Print what the command was asked for, also with `--quiet`."""
    if isinstance(result, str):
        _results.print(result, markup=False, highlight=False, soft_wrap=True)
    else:
        _results.print(result, markup=False)


class _Rate(ProgressColumn):
    """Items per second since the start. rich's own rate covers the latest advances, and episodes finish in bursts."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time or task.elapsed
        return Text(f"{task.completed / elapsed:.1f}/s" if task.completed and elapsed else "")


class Bar:
    """A progress bar: a rollout's subscriber, or advanced by a trainer through `agent.optimise.callbacks`."""

    def __init__(self, progress: Progress, task_id):
        self._progress, self._task_id, self._successes, self._n = progress, task_id, 0, 0
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def on_episode(self, episode: Episode) -> None:
        """Advance by one, and show the success rate of the episodes that are not broken."""
        self._n += episode.ending != "broken"
        self._successes += episode.success
        note = f"{100 * self._successes / self._n:.0f} % success" if self._n else ""
        self._progress.update(self._task_id, advance=1, note=note)

    def at(self, completed: int, note: str = "", total: int | None = None) -> None:
        """Set the items completed, a note, and the total where it was not known before."""
        self._progress.update(self._task_id, completed=completed, total=total, note=note)

    def track(self, items: Iterable[T]) -> Iterator[T]:
        """Yields the items, and advances by one after each."""
        for item in items:
            yield item
            self._progress.advance(self._task_id)


@contextmanager
def bar(description: str, total: int | None = None) -> Iterator[Bar]:
    """One bar, shown while the block runs."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, progress.add_task(f"{description:<28}", total=total, note=""))
