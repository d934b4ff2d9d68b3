"""Whether a task's states can be returned to: tried with the first steps of an episode, in environments made for it.

Branching and certificates stand on this. Nothing of the check is counted, and no episode at hand is touched.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from enum import Enum
from typing import Any, NamedTuple

from envs.errors import UserError, first_line
from envs.foreign.resets.remade import global_generators_kept
from envs.snapshot import Restorable, Snapshot
from envs.task import Task

STEPS = 10  # before the state that is returned to, and after it, at most


class Way(Enum):
    """How the states of a task are returned to: by their snapshots, or by its actions from the reset on."""

    SAVED = "saved"
    REPEATED = "repeated"


class _Given(NamedTuple):
    """What a step gave."""

    state: bytes
    reward: float
    ending: tuple[bool, bool]
    picture: bytes


class _CannotTellError(Exception):
    """The environment raised while the episode was simulated, before anything was restored."""


# What this process knows, of each task and its environment.
_WAYS: dict[tuple[str, str], Way | UserError] = {}
_REPEATS: dict[tuple[str, str], UserError | None] = {}


def way_back(
    task: Task, seed: int, options: dict[str, Any] | None, actions: Sequence[Any], say: Callable[[str], None]
) -> Way:
    """How this task's states are returned to, found out with the first episode of this process that did not break.

    actions: of the episode of `seed` and `options`, at least one. say: is given a line where snapshots do not lead back
    and the actions do. Raises UserError, naming the task, where neither does. Where the environment raises meanwhile,
    the actions are repeated, and the next episode tells.
    """
    key = task.name, repr(task.env)
    if key not in _WAYS:
        try:
            _WAYS[key] = _found_way(task, seed, options, actions, say)
        except _CannotTellError:
            return Way.REPEATED
    if isinstance(way := _WAYS[key], UserError):
        raise way
    return way


def check_repeats(task: Task, seed: int, options: dict[str, Any] | None, actions: Sequence[Any]) -> None:
    """Raises UserError, naming the task, where the same seed and actions do not lead to the same states again.

    It is found out once in a process.
    """
    key = task.name, repr(task.env)
    if key not in _REPEATS:
        try:
            flaw = _flaw(task, seed, options, actions, is_copied=False)
        except _CannotTellError:
            return
        _REPEATS[key] = _refused(task, flaw) if flaw else None
    if error := _REPEATS[key]:
        raise error


def _found_way(
    task: Task, seed: int, options: dict[str, Any] | None, actions: Sequence[Any], say: Callable[[str], None]
) -> Way | UserError:
    copied = _flaw(task, seed, options, actions, is_copied=True)
    if not copied:
        return Way.SAVED
    if repeated := _flaw(task, seed, options, actions, is_copied=False):
        return _refused(task, repeated)
    say(f"task {task.name!r}: a state that was saved does not lead back ({copied}); its actions are repeated instead")
    return Way.REPEATED


def _refused(task: Task, flaw: str) -> UserError:
    return UserError(
        f"task {task.name!r} does not happen again: the same seed and actions gave {flaw}, so that nothing can be "
        "branched or certified; valid: a task that its seed decides, or collect.certify none, branch.failures 0 and "
        "branch.starts 0"
    )


def _flaw(task: Task, seed: int, options: dict[str, Any] | None, actions: Sequence[Any], is_copied: bool) -> str:
    """What differs after the return to a state in the middle, in its own environment or another; empty for nothing.

    is_copied: by its snapshot, else by its actions.
    """
    middle = min(len(actions) // 2, STEPS)
    rest = actions[middle : middle + STEPS]
    # not the environments of a subclass, which may be watched, and count their episodes
    with global_generators_kept(), closing(Task.make(task)) as env, closing(Task.make(task)) as other:
        try:
            env.reset(seed=seed, options=options)
            for action in actions[:middle]:
                env.step(action)
            saved = env.snapshot() if is_copied else Snapshot(seed, options, tuple(actions[:middle]))
            state, given = env.fingerprint(), list(_played(task, env, rest))
        except UserError:
            raise
        except Exception as error:  # whatever an environment raises
            raise _CannotTellError from error
        for again in (env, other):
            if flaw := _difference(task, again, saved, state, rest, given):
                return flaw
    return ""


def _difference(
    task: Task, env: Restorable, saved: Snapshot, state: bytes, rest: Sequence[Any], given: Sequence[_Given]
) -> str:
    try:
        env.restore(saved)
        if env.fingerprint() != state:
            return "another state"
        for i, (now, before) in enumerate(zip(_played(task, env, rest), given, strict=True)):
            for name, one, another in zip(_Given._fields, now, before, strict=True):
                if one != another:
                    return f"another {name} after {i + 1} steps"
    except Exception as error:  # whatever an environment raises that did not before
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def _played(task: Task, env: Restorable, actions: Sequence[Any]) -> Iterator[_Given]:
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        yield _Given(env.fingerprint(), float(reward), (terminated, truncated), task.observe(env).key())
