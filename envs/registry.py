"""Every task by name, and the tags that select subsets."""

from collections.abc import Iterable
from itertools import chain

from envs.declared import declared, ranges_file, unseen
from envs.errors import unknown
from envs.suites.gymnasium_own.tasks import STOCK
from envs.suites.libero import LIBERO
from envs.suites.meta_world import METAWORLD
from envs.suites.robotics.tasks import ROBOTICS
from envs.suites.tabletop.tasks import TABLETOP, vocabulary
from envs.task import FILES, Task

__all__ = ["TASKS", "as_measured", "expanded", "inexact", "tagged", "task", "vocabulary", "wordless"]

TASKS: dict[str, Task] = {task.name: task for task in (*TABLETOP, *STOCK, *ROBOTICS, *METAWORLD, *LIBERO)}


def task(name: str, image_size: int | None = None) -> Task:
    """The task called `name`, or declared in the YAML file of that path, with frames of `image_size` or its own.

    Raises UserError, naming the valid ones.
    """
    if name.endswith(FILES):
        return declared(name).sized(image_size)
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name].sized(image_size)


def wordless(name: str) -> Task:
    """The task without the words for its state where a file declares it, for what needs none: ranges of the words may
    not be measured yet. Raises UserError as `task` does."""
    return unseen(name) if name.endswith(FILES) else task(name)


def as_measured(name: str) -> Task:
    """The task, without the words for its state as long as their ranges are not measured. Raises UserError as `task`
    does."""
    ranges = ranges_file(name) if name.endswith(FILES) else None
    return task(name) if ranges is None or ranges.exists() else wordless(name)


def inexact(names: Iterable[str]) -> list[str]:
    """Those of the tasks whose episodes do not happen again, by their files' word."""
    return [name for name in dict.fromkeys(names) if not task(name).exact]


def tagged(tag: str) -> list[str]:
    """The names of the tasks of a suite, a side of a published split (`ml10-test`), or an appearance (`look-light`)."""
    return [task.name for task in TASKS.values() if tag in (task.suite, *task.tags)]


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """The names, a tag or a suite among them replaced by its tasks, each once."""
    each = ([name] if name in TASKS else tagged(name) or [name] for name in names)
    return tuple(dict.fromkeys(chain.from_iterable(each)))
