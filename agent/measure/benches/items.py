"""Items that take time and no processor, through the engine of worker processes: what a bench of the engine gives out.
Either each worker sleeps itself, or it asks replicas of the policy, which sleep.

A worker imports this module, which loads neither torch nor a simulator.
"""

import time
from typing import Any

import numpy as np

from agent.collect.actor import Ask
from agent.collect.budget import Spent
from agent.collect.cluster.replicas import Answering
from agent.collect.processes.pool import Death
from agent.collect.processes.serving import Call, here
from agent.collect.processes.watched import Finished
from agent.organise.episode import Episode, Step
from envs.observation import Observation
from policies.base import Decision

SIZE = 64  # px of a frame


class Items:
    """The work of a pool: episodes of one decision, of a policy that sleeps. Each worker has its own call."""

    def __init__(self, n: int, workers: int, sleep_s: float):
        self.seeds = set[int]()
        self._waiting = {i: Call(sleep_and_send, (range(i, n, workers), sleep_s)) for i in range(workers)}
        self._running = 0

    @property
    def is_done(self) -> bool:
        return not (self._waiting or self._running)

    def take(self, worker: int) -> Call | None:
        call = self._waiting.pop(worker, None)
        self._running += call is not None
        return call

    def heard(self, worker: int, message: Finished) -> None:
        self.seeds.add(message.episode.seed)

    def returned(self, worker: int, value: Any) -> None:
        self._running -= 1

    def died(self, worker: int, death: Death) -> None:
        raise RuntimeError(f"a worker {death.cause} amid a measurement")

    def replies(self) -> dict[int, Any]:
        return {}

    def vacate(self, worker: int) -> None:
        """Nothing is kept for a worker."""


class AskedItems(Items):
    """The same, where the workers ask for each decision. answering: the work of those that decide."""

    def __init__(self, n: int, workers: int, answering: Answering):
        super().__init__(n, workers, 0.0)
        self._waiting = {i: Call(ask_and_send, (range(i, n, workers),)) for i in range(workers)}
        self._answering = answering

    def heard(self, worker: int, message: Finished | Ask) -> None:
        if isinstance(message, Ask):
            self._answering.ask(worker, message)
        else:
            super().heard(worker, message)

    def replies(self) -> dict[int, Any]:
        return self._answering.answers(())


def sleep_and_send(seeds: range, sleep_s: float) -> None:
    """In a worker."""
    for seed in seeds:
        if sleep_s:
            time.sleep(sleep_s)
        _send(seed, _observation(), _decision())


def ask_and_send(seeds: range) -> None:
    """In a worker."""
    connection, _ = here()
    for seed in seeds:
        observation = _observation()
        connection.send(Ask([observation], [seed]))
        (decision,) = connection.recv()
        _send(seed, observation, decision)


def sleep_and_decide(n: int, sleep_s: float) -> list[Decision]:
    """In a replica: a batch."""
    time.sleep(sleep_s)
    return [_decision()] * n


def _observation() -> Observation:
    return Observation(np.zeros((1, SIZE, SIZE, 3), np.uint8), "sleep")


def _decision() -> Decision:
    return Decision("", np.zeros(2, np.float32))


def _send(seed: int, observation: Observation, decision: Decision) -> None:
    connection, pulse = here()
    pulse.rest()
    connection.send(Finished(Episode("sleep", seed, 0, [Step(observation, decision, 0.0)]), Spent(decisions=1)))
