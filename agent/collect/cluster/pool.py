"""Workers, and replicas of the policy, in the actors of a Ray cluster; their pool is as that of one machine,
`agent.collect.processes.pool.Pool`.

An actor that is lost, with its machine or without, costs what it had not finished (`Death.is_lost`). Its replacement is
placed by Ray as soon as the cluster has room; until then the others do the work. Messages come by streaming generators,
at most `AHEAD` batches of an actor wait to be read, and each `ray.wait` is bounded.
"""

import pickle
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from agent.collect.cluster import weights
from agent.collect.cluster.connection import connected
from agent.collect.cluster.envelopes import Died, Sealed, SealedQuestion, sealed
from agent.collect.cluster.host import Host, Setting
from agent.collect.cluster.weights import Files, Missing
from agent.collect.processes.pool import POLL_S, Death, Work
from agent.collect.processes.serving import Call, Raised, Returned
from agent.config import Engine, Limits
from agent.record.console import say
from envs.errors import UserError

AHEAD = 16  # batches of messages
PATIENCE_S = 60.0  # for an actor to start, before others take its part
NONE_S = 600.0  # without any actor, after which a run ends: a cluster that grows takes minutes
START_TRIES = 3  # actors, one after the other, that were lost as they started
END_S = 5.0  # for an actor to end its worker by itself


class RayPool:
    """`n` actors, which start when they are first needed. preload: a module with what their workers import.

    what: the actors are, in messages. gpus: of each.
    """

    def __init__(self, n: int, limits: Limits, preload: str, engine: Engine, what: str = "worker", gpus: float = 0.0):
        self._connection = ExitStack()
        self._connection.enter_context(connected(engine, n))
        self._setting, self._what = Setting.here(limits, preload, sees_gpus=gpus > 0), what
        self._needs = {"CPU": engine.cpus} | ({"GPU": gpus} if gpus else {})
        self._actors: dict[int, _Actor | None] = dict.fromkeys(range(n))
        self._files: tuple[str, ray.ObjectRef] | None = None  # the last checkpoint that was asked for
        self._failed_starts, self._vacant_since = 0, time.monotonic()
        for kind, need in self._needs.items():
            room = ray.cluster_resources().get(kind, 0.0)
            if n * need > room:
                say(
                    f"{n} times a {what} of engine.{kind.lower()}s = {need:g} in a cluster of {room:g} {kind}s: "
                    f"{int(room // need)} at first, more as it grows"
                )

    @property
    def n(self) -> int:
        return len(self._actors)

    def run(self, work: Work, *beside: tuple["RayPool", Work]) -> None:
        """Let the workers do the work. What a call raises is raised here. beside: other pools, whose work this one
        needs, and which get their actors first.

        Raises UserError where actors are lost as they start, and where the cluster has no room for any.
        """
        parts = [(self, work), *beside]
        for pool, _ in parts:
            pool._vacant_since = time.monotonic()
        try:
            while not all(part.is_done for _, part in parts):
                for pool, _ in reversed(parts):
                    pool._start()
                for pool, part in parts:
                    pool._give(part)
                    for number, reply in part.replies().items():
                        pool._actors[number].reply(pickle.dumps(reply))
                _listen(parts)
        except BaseException:
            for pool, _ in parts:
                pool._forsake()
            raise

    def pids(self) -> list[int]:
        """Nothing: the processes are on other machines."""
        return []

    def close(self) -> None:
        """End all workers, and a Ray that was started for them."""
        self.rest()
        self._connection.close()

    def rest(self) -> None:
        """End all workers, with what they hold. They start again when they are needed."""
        ending = [actor.close() for actor in self._actors.values() if actor and actor.is_idle]
        ray.wait(ending, num_returns=len(ending), timeout=END_S) if ending else None
        for actor in filter(None, self._actors.values()):
            actor.kill()
        self._actors = dict.fromkeys(self._actors)

    def _start(self) -> None:
        """The actors that are not there."""
        for number, actor in self._actors.items():
            if actor is None:
                self._actors[number] = _Actor(self._setting, self._needs)

    def _give(self, work: Work) -> None:
        for number, actor in self._actors.items():
            if actor.is_idle and (call := work.take(number)):
                actor.begin(sealed(call, _marks(call)))
            elif not actor.is_ready and actor.age_s > PATIENCE_S:
                work.vacate(number)
        if any(actor.is_ready for actor in self._actors.values()):
            self._vacant_since = time.monotonic()
        elif time.monotonic() - self._vacant_since > NONE_S:
            free, all_ = ray.available_resources(), ray.cluster_resources()
            wants = " and ".join(f"engine.{kind.lower()}s = {need:g}" for kind, need in self._needs.items())
            rooms = ", ".join(f"{free.get(kind, 0.0):g} of {all_.get(kind, 0.0):g} {kind}s" for kind in self._needs)
            raise UserError(f"in {NONE_S:.0f} s no {self._what} of {wants} found room: {rooms} of the cluster are free")

    def _read(self, number: int, work: Work) -> None:
        """The messages of an actor that has some, or its end."""
        try:
            messages = self._actors[number].read()
        except RayTaskError:  # a mistake of the actor's own
            raise
        except RayError as error:
            self._lose(number, error, work)
            return
        for message in messages:
            self._hear(number, message, work)

    def _hear(self, number: int, message: Any, work: Work) -> None:
        actor = self._actors[number]
        self._failed_starts = 0
        match message:
            case Raised(error):
                actor.is_busy = False
                raise error
            case Returned(value):
                actor.is_busy = False
                work.returned(number, value.open())
            case Died(death):
                actor.is_busy = False
                work.died(number, death)
            case Sealed():
                said = message.open()
                if isinstance(said, Missing):
                    actor.reply(self._files_of(said.checkpoint))
                else:
                    work.heard(number, said)

    def _files_of(self, checkpoint: Path) -> ray.ObjectRef:
        """The checkpoint's files in the object store, where the last one's are."""
        now = weights.mark(checkpoint)
        if self._files is None or self._files[0] != now:
            self._files = now, ray.put(Files.of(checkpoint))
        return self._files[1]

    def _lose(self, number: int, error: RayError, work: Work) -> None:
        lost, self._actors[number] = self._actors[number], None
        lost.kill()
        cause = f"was lost: {_reason(error)}"
        if not lost.is_ready:
            self._failed_starts += 1
            if self._failed_starts == START_TRIES:
                raise UserError(
                    f"{START_TRIES} actors, each of a {self._what}, ended as they started; the last {cause}"
                )
        say(f"a {self._what} {cause}; what it had not finished is done again")
        if lost.is_busy:
            work.died(number, Death(cause, 0, None, is_lost=True))

    def _forsake(self) -> None:
        """Kill the actors that are in the middle of a call, whose messages nobody will read."""
        for number, actor in self._actors.items():
            if actor and actor.is_busy:
                self._actors[number] = None
                actor.kill()


def replicas(limits: Limits, preload: str, engine: Engine) -> RayPool | None:
    """The pool of the policy's replicas, if there are any. As of a policy in the run's process, nobody watches how much
    memory they take."""
    if not engine.policies:
        return None
    return RayPool(
        engine.policies, Limits(step_s=limits.step_s), preload, engine, what="policy replica", gpus=engine.gpus
    )


def _listen(parts: Sequence[tuple[RayPool, Work]]) -> None:
    """Read what the actors of some pools have sent, once one has; wait for that POLL_S at most."""
    owner = {
        actor.waitable: (part, number)
        for part, (pool, _) in enumerate(parts)
        for number, actor in pool._actors.items()
        if actor and actor.waitable
    }
    if not owner:
        return
    ready, _ = ray.wait(list(owner), timeout=POLL_S, fetch_local=False)
    if ready and len(owner) > 1:
        ready, _ = ray.wait(list(owner), num_returns=len(owner), timeout=0, fetch_local=False)
    for part, number in sorted(owner[each] for each in ready):
        pool, work = parts[part]
        pool._read(number, work)


class _Actor:
    """An actor, seen from its pool. waitable: what `ray.wait` is to watch; None while it is idle or asks something."""

    def __init__(self, setting: Setting, needs: Mapping[str, float]):
        much = {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0)}
        host = ray.remote(Host).options(**much, max_restarts=0, scheduling_strategy="SPREAD")
        self._host = host.remote(setting)
        self._since = time.monotonic()
        self.waitable: Any = self._host.hello.remote()
        self.is_ready = self.is_busy = False

    @property
    def is_idle(self) -> bool:
        return self.is_ready and not self.is_busy

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._since

    def begin(self, call: bytes) -> None:
        self.is_busy = True
        self._stream(self._host.begin, call)

    def reply(self, reply: Any) -> None:
        """reply: pickled, or a reference to a checkpoint's files."""
        self._stream(self._host.go_on, reply)

    def _stream(self, method: Any, argument: Any) -> None:
        how = {"num_returns": "streaming", "_generator_backpressure_num_objects": AHEAD}
        self.waitable = method.options(**how).remote(argument)

    def read(self) -> list[Any]:
        """The next batch of messages. Raises RayError where the actor is lost."""
        if not self.is_ready:
            ray.get(self.waitable)
            self.is_ready, self.waitable = True, None
            return []
        reference = next(self.waitable, None)
        if reference is None:  # see `Host.go_on`
            self.waitable = None
            return []
        messages = ray.get(reference)
        if isinstance(messages[-1], (Raised, Returned, Died, SealedQuestion)):
            self.waitable = None
        return messages

    def close(self) -> Any:
        """Ask it to end its worker; returns what to wait for."""
        return self._host.close.remote()

    def kill(self) -> None:
        ray.kill(self._host)


def _marks(call: Call) -> dict[Path, str]:
    return {call.checkpoint: weights.mark(call.checkpoint)} if call.checkpoint else {}


def _reason(error: RayError) -> str:
    """The last line of what Ray says, which has the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
