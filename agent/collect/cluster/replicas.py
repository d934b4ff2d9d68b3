"""Questions of workers for replicas of the policy, which answer what waits in one batch: the work of the replicas.

The run's process hands questions and answers on, and computes none. Whichever replica is idle takes those that have
waited longest, so that no replica has more of them than it answers at once. Where an answer depends on the observation
and its seed alone (`placement`: exact), it does not depend on the replica and on what shares the batch; on a GPU, which
questions share a batch depends on which worker was faster.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from agent.collect.actor import Ask
from agent.collect.processes.pool import Death
from agent.collect.processes.recovery import LOST
from agent.collect.processes.serving import Call
from envs.errors import UserError
from envs.observation import Observation
from policies.base import Decision

MOST = 128  # observations in a batch of several questions


@dataclass
class _Asked:
    """A question. worker: that waits for the answer; None: it has died. losses: replicas that died over it."""

    worker: int | None
    ask: Ask
    losses: int = 0


class Answering:
    """To the work of the workers, an `agent.collect.actor.Actor`; to the pool of the replicas, their work.

    what: is asked about, in messages. call: makes the call that decides for observations, given their seeds. most:
    observations in a batch of several questions.
    """

    def __init__(self, what: str, call: Callable[[Sequence[Observation], Sequence[int]], Call], most: int = MOST):
        self._what, self._call, self._most = what, call, most
        self._waiting = deque[_Asked]()
        self._batches = dict[int, list[_Asked]]()  # of replicas: what each is answering
        self._answered = dict[int, list[Decision]]()  # of workers

    # of the workers ---------------------------------------------------------------------------------------------------
    def ask(self, worker: int, ask: Ask) -> None:
        """Note that a worker waits."""
        self._waiting.append(_Asked(worker, ask))

    def forget(self, worker: int) -> None:
        """A worker has died; its replacement will ask again."""
        self._waiting = deque(asked for asked in self._waiting if asked.worker != worker)
        self._answered.pop(worker, None)
        for asked in (asked for batch in self._batches.values() for asked in batch if asked.worker == worker):
            asked.worker = None

    def answers(self, playing: Collection[int]) -> dict[int, list[Decision]]:
        """Worker -> its decisions, where there are some now."""
        answered, self._answered = self._answered, {}
        return answered

    # of the replicas --------------------------------------------------------------------------------------------------
    @property
    def is_done(self) -> bool:
        """Whether no question is open; there may be others."""
        return not (self._waiting or self._batches)

    def take(self, replica: int) -> Call | None:
        """A question over which a replica has died goes alone: their number may have been the cause."""
        if not self._waiting:
            return None
        batch = [self._waiting.popleft()]
        n = len(batch[0].ask.seeds)
        while self._waiting and not (batch[0].losses or self._waiting[0].losses):
            n += len(self._waiting[0].ask.seeds)
            if n > self._most:
                break
            batch.append(self._waiting.popleft())
        self._batches[replica] = batch
        observations = [o for asked in batch for o in asked.ask.observations]
        return self._call(observations, [seed for asked in batch for seed in asked.ask.seeds])

    def heard(self, replica: int, message: Any) -> None:
        raise TypeError(f"decisions have no messages; got {message!r}")

    def returned(self, replica: int, decisions: Sequence[Decision]) -> None:
        following = iter(decisions)
        for asked in self._batches.pop(replica):
            its = [next(following) for _ in asked.ask.seeds]
            if asked.worker is not None:
                self._answered[asked.worker] = its

    def died(self, replica: int, death: Death) -> None:
        """Its questions are asked again, before the others. Raises UserError where so many replicas died over one."""
        for asked in reversed(self._batches.pop(replica)):
            if asked.worker is None:
                continue
            asked.losses += 1
            if asked.losses == LOST:
                raise UserError(f"{LOST} times, a policy replica {death.cause} over the same {self._what}")
            self._waiting.appendleft(asked)

    def replies(self) -> dict[int, Any]:
        return {}

    def vacate(self, replica: int) -> None:
        """Nothing is kept for a replica."""
