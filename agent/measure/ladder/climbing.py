"""The rungs in their order. One that fails is noted, and the next ones are tried."""

from collections.abc import Callable
from pathlib import Path

from agent.measure.ladder.costs import memory, times, tokens
from agent.measure.ladder.exactness import certificates, restores, starts
from agent.measure.ladder.pictures import picture
from agent.measure.ladder.playing import Effort, ceiling, play
from agent.measure.ladder.rungs import NOBODY, Ceiling, Failed, Ladder, Lengths, Missing, Play, Rung
from envs import registry
from envs.errors import SimulatorError, UserError
from envs.foreign.raising import is_of_environment, named
from envs.task import Task
from policies.baselines import with_expert

PLAYERS = ("random", "zero", "expert")


def climb(name: str, frame: Path, effort: Effort, say: Callable[[str], None] = lambda line: None) -> Ladder:
    """All rungs of a task. frame: where the picture is saved. say: is given the name of each rung before it.

    Raises UserError for a task that is unknown, or cannot be made.
    """
    task = registry.task(name)
    task.make().close()
    rungs: dict[str, Rung] = {}
    for rung, measure in _measures(task, frame, effort, rungs).items():
        say(rung)
        try:
            rungs[rung] = measure()
        except (UserError, SimulatorError) as error:
            rungs[rung] = Failed(str(error))
        except BaseException as error:  # whatever an environment raises
            if not is_of_environment(error):
                raise
            rungs[rung] = Failed(named(error))
    return Ladder(name, rungs, task.env.repeat, task.teacher.captions is not None)


def _measures(task: Task, frame: Path, effort: Effort, rungs: dict[str, Rung]) -> dict[str, Callable[[], Rung]]:
    """Rung -> what measures it. rungs: those that were measured before, as they come."""
    return {
        "picture": lambda: picture(task, frame),
        "random": lambda: play("random", task, effort),
        "zero": lambda: play("zero", task, effort),
        "expert": lambda: _expert(task, effort),
        "codec": lambda: _ceiling(task, effort, rungs),
        "lengths": lambda: _lengths(task, rungs),
        "starts": lambda: starts(task, effort),
        "certificates": lambda: certificates(task, effort),
        "restores": lambda: restores(task, effort),
        "times": lambda: times(task, effort),
        "memory": lambda: memory(task, effort),
        "tokens": lambda: tokens(task, effort),
    }


def _expert(task: Task, effort: Effort) -> Play | Missing:
    if with_expert(task).teacher.expert:
        return play("expert", task, effort)
    recorded = task.teacher.shown_by
    return Missing(f"none that plays: {recorded} shows the task" if recorded else NOBODY)


def _ceiling(task: Task, effort: Effort, rungs: dict[str, Rung]) -> Ceiling | Missing:
    return ceiling(task, effort) if isinstance(rungs["expert"], Play) else Missing("no expert that plays")


def _lengths(task: Task, rungs: dict[str, Rung]) -> Lengths:
    played = {who: rungs[who].decisions for who in PLAYERS if isinstance(rungs[who], Play)}
    return Lengths(task.horizon, played)
