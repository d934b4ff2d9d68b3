"""A stage is done once: what it wrote and returned is in the run's journal, and a resumed run takes it from there."""

import json
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from agent.optimise.health import UnhealthyError
from agent.organise import durable
from agent.record.console import say
from agent.record.run.journal import Done
from agent.record.run.status import took
from agent.record.run.underway import UnderWay
from agent.stages.round import Round
from envs.errors import UserError

TOLD_S = 0.5  # [s] of a stage, from which on a line tells what it took
UNHEALTHY = "unhealthy"  # in the row of a stage whose training gave no policy
P = ParamSpec("P")
Row = dict[str, Any]


def stage(function: Callable[Concatenate[Round, P], Row]) -> Callable[Concatenate[Round, P], Row]:
    """Makes a function from folders of stages that are done into folders of its own a stage.

    The function returns what it adds to the round's row, as JSON can hold it. It writes through `Round.output` and
    `Round.store`, and rolls out through `Round.rollout`: these survive a crash, so that the stage goes on where it was.
    Its name, with the text among its arguments, tells it from the other stages of the round.

    A stage whose output was found damaged is done again. Raises UserError where the disk is full or fails, and where a
    stage that is done again does not give the bytes that it gave before.
    """

    @wraps(function)
    def once(r: Round, *arguments: P.args, **named: P.kwargs) -> Row:
        name = " ".join([function.__name__, *(a for a in arguments if isinstance(a, str))])
        done = r.journal.find(r.number, name)
        if done is None or done in r.journal.again:
            done = _do(r, name, done, lambda: function(r, *arguments, **named))
        else:
            r.spend(done.spent)
        if UNHEALTHY in done.row:
            raise UnhealthyError(done.row[UNHEALTHY])
        return dict(done.row)

    return once


def _do(r: Round, name: str, before: Done | None, work: Callable[[], Row]) -> Done:
    """Do the stage and record it. before: its record, where it is done again."""
    budget, started = dict(r.budget), time.monotonic()
    under_way = UnderWay(r.run.path, r.number, name)
    with durable.named_errors(under_way.folder), r.writing(under_way), r.tracker.muted(before is not None):
        try:
            row = json.loads(json.dumps(work()))
        except UnhealthyError as fault:  # done, too: trained again, it would be as unhealthy
            row = {UNHEALTHY: str(fault)}
        r.charge(r.workers.take_spent())  # of queries after the last rollout
        outputs = under_way.written()
        if before and outputs != before.outputs:
            raise UserError(
                f"round {r.number}'s {name}, done again, is not what it was before; valid: the machine and packages of "
                f"that time, or another --out"
            )
        under_way.publish(outputs)
        r.tracker.sync()
    if before:
        r.budget.update(budget)
        r.spend(before.spent)
        done = before
    else:
        spent = {key: value - budget[key] for key, value in r.budget.items() if value != budget[key]}
        done = Done(r.number, name, row, spent, r.tracker.step, time.monotonic() - started, outputs)
        r.journal.add(done)
        if done.wall_s >= TOLD_S:
            say(took(done, r.journal.done))
    under_way.discard()
    return done
