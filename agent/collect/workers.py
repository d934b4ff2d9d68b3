"""Episodes of a checkpoint, played by several processes at once: a small model gains little from torch's threads."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty
from typing import Any, Self

import numpy as np

from agent.collect.budget import Meter, MeteredPolicy, Spent
from agent.collect.rollout import Start, Subscriber, rollout
from agent.collect.verify import Verifier, deny
from agent.config import Critic
from agent.organise.episode import Episode
from envs import registry
from envs.observation import Observation
from policies import critic
from policies.action_codec import codec_for
from policies.backend_hf import HFBackend
from policies.base import Decision
from policies.mllm import MLLMPolicy
from policies.threads import one_thread

POLL_S = 0.5  # between looks whether a worker failed
_loaded: tuple[Path, HFBackend] | None = None  # this process's last checkpoint
_finished: Any = None  # in a worker: the queue on which it hands over each finished episode


@dataclass(frozen=True)
class Job:
    """What to play: `starts` are (seed, attempt); the rest is of MLLMPolicy and of rollout."""

    task: str
    checkpoint: Path
    starts: Sequence[Start | tuple[int, int]] = ()
    temperature: float = 0.0
    critic: Critic = field(default_factory=Critic)
    n_envs: int = 64
    sampling_seed: int = 0
    certify: bool = False  # play each episode twice: one that differs is broken
    snapshots: bool = False  # keep the state of each step
    end_loops: bool = False  # of a greedy policy


Question = Callable[[MLLMPolicy, Sequence[Observation], Sequence[Any]], Sequence[Any]]


def propose(policy: MLLMPolicy, observations: Sequence[Observation], draws: Sequence[Sequence[int]]) -> list[Decision]:
    """A question: an answer to each observation, drawn by the generator that its seeds make."""
    return policy.act(observations, [np.random.default_rng(seeds) for seeds in draws])


def judge(policy: MLLMPolicy, observations: Sequence[Observation], answers: Sequence[str]) -> list[critic.Critique]:
    """A question: will each answer work?"""
    return critic.judge(policy.backend, policy.codec, observations, answers)


def _conclude(policy: MLLMPolicy, ends: Sequence[Observation], tasks: Sequence[str]) -> list[critic.Critique]:
    """A question: whether each is done, all of one task."""
    return critic.conclude(policy.backend, registry.task(tasks[0]).language, ends)


class Workers:
    """`n` processes that share a job's starts, each with one thread of torch; with one, this process itself plays.

    An episode is the same whichever worker plays it.
    """

    def __init__(self, n: int):
        self.n, self._spent = n, Spent()
        if n > 1:
            spawn = multiprocessing.get_context("spawn")  # a forked renderer would share its parent's context
            self._queue = spawn.Queue()
            self._pool = ProcessPoolExecutor(n, spawn, _start, (self._queue,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.n > 1:
            self._pool.shutdown(cancel_futures=True)

    def take_spent(self) -> Spent:
        """What was spent since this was last asked."""
        spent, self._spent = self._spent, Spent()
        return spent

    def play(self, job: Job, subscribers: Sequence[Subscriber] = ()) -> list[Episode]:
        """One episode for each start, in their order."""
        if self.n == 1:
            episodes, spent = _play(job, subscribers)
            self._spent += spent
            return episodes
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
        for future in futures:
            self._spent += future.result()
        return [finished[start[:2]] for start in job.starts]

    def ask(
        self, question: Question, job: Job, observations: Sequence[Observation], details: Sequence[Any]
    ) -> list[Any]:
        """What the job's policy says to each observation and its detail."""
        if self.n == 1:
            answers, spent = _ask(question, job, observations, details)
            self._spent += spent
            return answers
        parts = [(observations[i :: self.n], details[i :: self.n]) for i in range(self.n)]
        futures = [self._pool.submit(_ask, question, job, *part) for part in parts]
        answers: list[Any] = [None] * len(observations)
        for i, future in enumerate(futures):
            answers[i :: self.n], spent = future.result()
            self._spent += spent
        return answers

    def certify(self, episodes: Sequence[Episode]) -> None:
        """Simulate the episodes again; one that differs is broken from here on."""
        parts = [list(episodes[i :: self.n]) for i in range(self.n)]
        found = map(_flaws, parts) if self.n == 1 else self._pool.map(_flaws, parts)
        for part, (flaws, spent) in zip(parts, found, strict=True):
            self._spent += spent
            for episode, flaw in zip(part, flaws, strict=True):
                deny(episode, flaw)

    def conclude(self, job: Job, ends: Sequence[Observation]) -> list[critic.Critique]:
        """Whether the job's task is done, as its policy has it, given what was seen at each end."""
        return self.ask(_conclude, job, ends, [job.task] * len(ends))


@contextmanager
def policy_of(job: Job) -> Iterator[MLLMPolicy]:
    """The policy that plays the job, in this process, with one thread of torch."""
    global _loaded
    if _loaded is None or _loaded[0] != job.checkpoint:
        _loaded = job.checkpoint, HFBackend.load(job.checkpoint)
    with one_thread():
        codec = codec_for(registry.task(job.task))
        yield MLLMPolicy(_loaded[1], codec, job.temperature, **asdict(job.critic))


def _play(job: Job, subscribers: Sequence[Subscriber]) -> tuple[list[Episode], Spent]:
    meter = Meter()
    with policy_of(job) as policy, Verifier() as verifier:
        certifying = [verifier] if job.certify else []
        episodes = rollout(
            registry.task(job.task),
            MeteredPolicy(policy, meter.spent),
            job.starts,
            job.n_envs,
            [meter, *certifying, *subscribers],
            job.sampling_seed,
            job.snapshots,
            job.end_loops,
        )
    meter.spent += verifier.spent
    return episodes, meter.spent


def _ask(
    question: Question, job: Job, observations: Sequence[Observation], details: Sequence[Any]
) -> tuple[list[Any], Spent]:
    spent = Spent()
    with policy_of(job) as policy:
        answers = [
            answer
            for i in range(0, len(observations), job.n_envs)
            for answer in question(policy, observations[i : i + job.n_envs], details[i : i + job.n_envs])
        ]
    spent.answered(answers)
    return answers, spent


def _flaws(episodes: Sequence[Episode]) -> tuple[list[str], Spent]:
    with Verifier() as verifier:
        return [verifier.flaw(episode) for episode in episodes], verifier.spent


class _HandOver:
    def on_episode(self, episode: Episode) -> None:
        _finished.put(episode)


def _start(finished: Any) -> None:
    global _finished
    _finished = finished
    finished.cancel_join_thread()  # after an error nobody reads on: what is left unread must not keep a worker alive
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle, an interrupt is the parent's business
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its workers."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _play_part(job: Job) -> Spent:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _play(job, [_HandOver()])[1]
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
