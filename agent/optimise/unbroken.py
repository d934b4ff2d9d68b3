"""What a teacher shows from each start, without the starts from which the environment raises."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from agent.record.console import say
from envs.errors import UserError, first_line
from envs.foreign.raising import is_of_environment
from envs.snapshot import Restorable
from envs.task import Task

T = TypeVar("T")


def from_each(task: Task, seeds: Sequence[int], show: Callable[[Restorable, int], T]) -> Iterator[T]:
    """What `show` gives for the task's environment and each of the seeds; says how many were left out, and why.

    An environment that raised is in no known state: it is made anew. Raises UserError where it raises from every seed.
    """
    env, causes = task.make(), list[str]()
    try:
        for seed in seeds:
            try:
                shown = show(env, seed)
            except BaseException as error:
                if isinstance(error, UserError) or not is_of_environment(error):
                    raise
                causes.append(f"{type(error).__name__}: {first_line(error)}")
                env.close()
                env = task.make()
            else:
                yield shown
    finally:
        env.close()
    if not causes:
        return
    if len(causes) == len(seeds):
        raise UserError(f"task {task.name!r} broke from each of {len(seeds)} starts; the first: {causes[0]}")
    say(f"{len(causes)} of {len(seeds)} starts of {task.name} broke, left out; the first: {causes[0]}")
