"""One process acts for the environments of all workers, in batches over all of them: a model on an accelerator.

Workers simulate and render; they load no model. Each asks for the decisions of its environments and waits. The batch is
answered once every worker with a part waits, so that what shares a batch does not depend on which worker was faster.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from agent.collect.processes.serving import Question
from envs.observation import Observation
from policies.base import Decision
from policies.mllm import MLLMPolicy, draw_seeds


@dataclass(frozen=True)
class Ask(Question):
    """A worker's observations, and the seed of each decision."""

    observations: Sequence[Observation]
    seeds: Sequence[int]


class RemotePolicy:
    """In a worker: a policy whose decisions another process makes."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        self._connection.send(Ask(observations, draw_seeds(rngs)))
        return self._connection.recv()


class Actor:
    """In the process that has the model: answers the workers."""

    def __init__(self, policy: MLLMPolicy):
        self._policy = policy
        self._waiting: dict[int, Ask] = {}

    def ask(self, worker: int, ask: Ask) -> None:
        """Note that a worker waits."""
        self._waiting[worker] = ask

    def forget(self, worker: int) -> None:
        """A worker has died; its replacement will ask again."""
        self._waiting.pop(worker, None)

    def answers(self, playing: Collection[int]) -> dict[int, list[Decision]]:
        """Worker -> its decisions, once all that play wait; empty before."""
        if not self._waiting or not self._waiting.keys() >= set(playing):
            return {}
        asks = {worker: self._waiting.pop(worker) for worker in sorted(self._waiting)}
        decisions = iter(
            self._policy.decide(
                [o for ask in asks.values() for o in ask.observations],
                [seed for ask in asks.values() for seed in ask.seeds],
            )
        )
        return {worker: [next(decisions) for _ in ask.seeds] for worker, ask in asks.items()}
