"""One process acts for the environments of all workers, in batches over all of them: a model on an accelerator.

Workers simulate and render; they load no model. Each asks for the decisions of its environments and waits. The batch is
answered once every running worker waits, so that what shares a batch does not depend on which worker was faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Queue

import numpy as np

from envs.observation import Observation
from policies.base import Decision
from policies.mllm import MLLMPolicy, draw_seeds


@dataclass(frozen=True)
class Ask:
    """A worker's observations, and the seed of each decision."""

    worker: int
    observations: Sequence[Observation]
    seeds: Sequence[int]


@dataclass(frozen=True)
class Done:
    """A worker has rolled out its part."""

    worker: int


class RemotePolicy:
    """In a worker: a policy whose decisions another process makes."""

    def __init__(self, worker: int, asked: Queue, answers: Queue):
        self._worker, self._asked, self._answers = worker, asked, answers

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        """Raises RuntimeError if the other process has stopped."""
        self._asked.put(Ask(self._worker, observations, draw_seeds(rngs)))
        decisions = self._answers.get()
        if decisions is None:
            raise RuntimeError("the process that acts has stopped")
        return decisions


class Actor:
    """In the process that has the model: answers the workers that are running. answers: a queue to each worker."""

    def __init__(self, policy: MLLMPolicy, answers: Sequence[Queue], running: Sequence[int]):
        self._policy, self._answers, self._running = policy, answers, set(running)
        self._waiting: dict[int, Ask] = {}

    @property
    def is_awaited(self) -> bool:
        """Whether a worker is not done."""
        return bool(self._running)

    def handle(self, message: Ask | Done) -> None:
        """Note that a worker asks or is done, and answer all once every running one waits."""
        if isinstance(message, Done):
            self._running.discard(message.worker)
        else:
            self._waiting[message.worker] = message
        if self._waiting and self._running <= self._waiting.keys():
            asks = [self._waiting.pop(worker) for worker in sorted(self._waiting)]
            decisions = self._policy.decide(
                [o for ask in asks for o in ask.observations], [seed for ask in asks for seed in ask.seeds]
            )
            for ask in asks:
                own, decisions = decisions[: len(ask.seeds)], decisions[len(ask.seeds) :]
                self._answers[ask.worker].put(own)

    def stop(self) -> None:
        """Let no worker wait for an answer that will not come."""
        for worker in self._running:
            self._answers[worker].put(None)
