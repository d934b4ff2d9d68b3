"""Episodes of a checkpoint, played by several processes at once: a small model gains little from torch's threads."""

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty
from typing import Any, Self

import torch

from agent.episode import Episode
from agent.rollout import Subscriber, rollout
from agent.verify import Verifier
from envs import registry
from policies.action_codec import codec_for
from policies.backend_hf import HFBackend
from policies.mllm import MLLMPolicy

POLL_S = 0.5  # between looks whether a worker failed
_loaded: tuple[Path, HFBackend] | None = None  # this process's last checkpoint
_finished: Any = None  # in a worker: the queue on which it hands over each finished episode


@dataclass(frozen=True)
class Job:
    """What to play: `starts` are (seed, attempt); the rest is of MLLMPolicy and of rollout."""

    task: str
    checkpoint: Path
    starts: Sequence[tuple[int, int]]
    temperature: float = 0.0
    proposals: int = 1
    judged: bool = False
    n_envs: int = 64
    sampling_seed: int = 0
    certify: bool = False  # play each episode twice: one that differs is broken


class Workers:
    """`n` processes that share a job's starts, each with one thread of torch; with one, this process itself plays.

    An episode is the same whichever worker plays it.
    """

    def __init__(self, n: int):
        self.n = n
        if n > 1:
            spawn = multiprocessing.get_context("spawn")  # a forked renderer would share its parent's context
            self._queue = spawn.Queue()
            self._pool = ProcessPoolExecutor(n, spawn, _start, (self._queue,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.n > 1:
            self._pool.shutdown(cancel_futures=True)

    def play(self, job: Job, subscribers: Sequence[Subscriber] = ()) -> list[Episode]:
        """One episode for each start, in their order."""
        if self.n == 1:
            return _play(job, subscribers)
        parts = [replace(job, starts=job.starts[i :: self.n]) for i in range(self.n)]
        futures = [self._pool.submit(_play_part, part) for part in parts if part.starts]
        finished: dict[tuple[int, int], Episode] = {}
        while len(finished) < len(job.starts):
            try:
                episode = self._queue.get(timeout=POLL_S)
            except Empty:
                episode = None
            for future in futures:
                if future.done():
                    future.result()  # what a worker raised is raised here
            if episode is None:
                continue
            finished[episode.seed, episode.attempt] = episode
            for subscriber in subscribers:
                subscriber.on_episode(episode)
        return [finished[start] for start in job.starts]


def _play(job: Job, subscribers: Sequence[Subscriber]) -> list[Episode]:
    global _loaded
    if _loaded is None or _loaded[0] != job.checkpoint:
        _loaded = job.checkpoint, HFBackend.load(job.checkpoint)
    task = registry.task(job.task)
    policy = MLLMPolicy(_loaded[1], codec_for(task), job.temperature, job.proposals, job.judged)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on the number of threads, episodes must not
    try:
        with Verifier() as verifier:
            certifying = [verifier] if job.certify else []
            return rollout(task, policy, job.starts, job.n_envs, [*certifying, *subscribers], job.sampling_seed)
    finally:
        torch.set_num_threads(threads)


class _HandOver:
    def on_episode(self, episode: Episode) -> None:
        _finished.put(episode)


def _start(finished: Any) -> None:
    global _finished
    _finished = finished
    finished.cancel_join_thread()  # after an error nobody reads on: what is left unread must not keep a worker alive
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle, an interrupt is the parent's business


def _play_part(job: Job) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _play(job, [_HandOver()])
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
