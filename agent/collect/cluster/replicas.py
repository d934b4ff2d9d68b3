"""Questions of workers for replicas of the policy: the work of the replicas.

The run's process hands questions and answers on, and computes none. Workers are in groups of fixed members, and a
group's questions go in one batch, once every worker of it with a part waits: so what shares a batch does not depend on
which worker was faster, as in `agent.collect.actor`. Whichever replica is idle takes the batch that has waited longest.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.collect.actor import Ask
from agent.collect.processes.pool import Death
from agent.collect.processes.recovery import LOST
from agent.collect.processes.serving import Call
from envs.errors import UserError
from envs.observation import Observation
from policies.base import Decision

MOST = 128  # observations in a batch of several questions


def grouped(workers: int, n_envs: int, replicas: int) -> int:
    """Workers of a group: as many as fill a batch, but no fewer groups than replicas. n_envs: of each worker."""
    return max(1, min(MOST // n_envs, workers // replicas))


@dataclass
class _Batch:
    """Questions by their worker. forgotten: workers that have died since. losses: replicas that died over it."""

    asks: dict[int, Ask]
    forgotten: set[int] = field(default_factory=set)
    losses: int = 0


class Answering:
    """To the work of the workers, an `agent.collect.actor.Actor`; to the pool of the replicas, their work.

    what: is asked about, in messages. call: makes the call that decides for observations, given their seeds. group:
    workers whose questions share a batch.
    """

    def __init__(self, what: str, call: Callable[[Sequence[Observation], Sequence[int]], Call], group: int):
        self._what, self._call, self._group = what, call, group
        self._asked = dict[int, Ask]()  # by workers whose group is not complete
        self._waiting, self._running = deque[_Batch](), dict[int, _Batch]()  # of replicas: what each is answering
        self._answered = dict[int, list[Decision]]()  # of workers

    # of the workers ---------------------------------------------------------------------------------------------------
    def ask(self, worker: int, ask: Ask) -> None:
        """Note that a worker waits."""
        self._asked[worker] = ask

    def forget(self, worker: int) -> None:
        """A worker has died; its replacement will ask again."""
        self._asked.pop(worker, None)
        self._answered.pop(worker, None)
        for batch in (*self._waiting, *self._running.values()):
            batch.forgotten.add(worker)

    def answers(self, playing: Collection[int]) -> dict[int, list[Decision]]:
        """Worker -> its decisions, where there are some now. Batches are made of the groups that wait whole."""
        late = {worker // self._group for worker in playing if worker not in self._asked}
        whole = sorted({worker // self._group for worker in self._asked} - late)
        for group in whole:
            members = [worker for worker in sorted(self._asked) if worker // self._group == group]
            self._waiting.append(_Batch({worker: self._asked.pop(worker) for worker in members}))
        answered, self._answered = self._answered, {}
        return answered

    # of the replicas --------------------------------------------------------------------------------------------------
    @property
    def is_done(self) -> bool:
        """Whether no question is open; there may be others."""
        return not (self._asked or self._waiting or self._running)

    def take(self, replica: int) -> Call | None:
        while self._waiting:
            batch = self._waiting.popleft()
            asks = {worker: ask for worker, ask in batch.asks.items() if worker not in batch.forgotten}
            if asks:
                self._running[replica] = _Batch(asks, losses=batch.losses)
                observations = [o for ask in asks.values() for o in ask.observations]
                return self._call(observations, [seed for ask in asks.values() for seed in ask.seeds])
        return None

    def heard(self, replica: int, message: Any) -> None:
        raise TypeError(f"decisions have no messages; got {message!r}")

    def returned(self, replica: int, decisions: Sequence[Decision]) -> None:
        batch, following = self._running.pop(replica), iter(decisions)
        for worker, ask in batch.asks.items():
            its = [next(following) for _ in ask.seeds]
            if worker not in batch.forgotten:
                self._answered[worker] = its

    def died(self, replica: int, death: Death) -> None:
        """Its batch is asked again, before others. Raises UserError where so many replicas died over it."""
        batch = self._running.pop(replica)
        batch.losses += 1
        if batch.losses == LOST:
            raise UserError(f"{LOST} times, a policy replica {death.cause} over the same {self._what}")
        self._waiting.appendleft(batch)

    def replies(self) -> dict[int, Any]:
        return {}

    def vacate(self, replica: int) -> None:
        """Nothing is kept for a replica."""
