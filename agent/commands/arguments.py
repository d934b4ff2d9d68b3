"""Checks of arguments that several commands share; nothing here is slow to import."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envs.errors import UserError

if TYPE_CHECKING:
    from envs.task import Task

BASELINES = ("zero", "random", "expert")  # policies without a model


def at_least(minimum: int, **values: float) -> None:
    """Raises UserError naming the first value that is below `minimum` or NaN."""
    for name, value in values.items():
        if not value >= minimum:  # true for NaN
            raise UserError(f"{name} = {value}; valid: at least {minimum}")


def check_practised(names: Iterable[str]) -> None:
    """Raises UserError for a task that is unknown or held out from practice."""
    from envs import registry

    for name in names:
        if registry.as_measured(name).split != "practice":
            practised = [task for task in registry.TASKS.values() if task.split == "practice"]
            valid = ", ".join(map(registry.range_of, registry.in_series(practised)))
            raise UserError(f"task {name!r} is held out from practice; valid: {valid}")


def are_foreign(names: Iterable[str]) -> bool:
    """Whether one of the tasks is declared: an environment that nobody here has tried, for a process of its own."""
    from envs import registry
    from envs.task import DECLARED

    return any(registry.wordless(name).suite == DECLARED for name in names)


def check_player(policy: str, task: "Task") -> None:
    """Raises UserError for a policy that is not there, and for a .zip that may not be loaded or does not fit."""
    from policies.base import find_player

    if policy in BASELINES:
        return
    found = find_player(policy, (*BASELINES, "a .zip", "the URL of a server"))
    if isinstance(found, Path) and found.suffix == ".zip":
        from policies.sb3 import load

        load(found, task)


def vouch(*policies: str | Path | None, tasks: Iterable[str] = ()) -> None:
    """Trust those of the policies that are a .zip, and those that are experts of declared tasks, in this process:
    `--trust`."""
    from envs import registry
    from envs.foreign.teaching import TrainedExpert
    from policies.experts import trust

    shown_by = [registry.wordless(name).teacher.shown_by for name in tasks]
    for policy in (*policies, *(by.path for by in shown_by if isinstance(by, TrainedExpert))):
        if policy is not None and Path(policy).suffix == ".zip":
            trust.vouch(Path(policy))


def split_overrides(arguments: Sequence[str], switches: Iterable[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and the overrides of its config, `--key value` or `--key=value`.

    switches: names of its own arguments without a value, which are no keys of the config.
    """
    own, overrides, rest = [], [], iter(arguments)
    flags = {"help", *switches, *(f"no_{name}" for name in switches)}
    for argument in rest:
        if not argument.startswith("--") or argument.removeprefix("--").replace("-", "_") in flags:
            own.append(argument)
        else:
            overrides.append(argument)
            if "=" not in argument:
                overrides += [value for value in (next(rest, None),) if value is not None]
    return own, overrides
