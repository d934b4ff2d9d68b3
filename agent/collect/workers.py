"""Rollouts of a checkpoint in several processes.

Each has the model, with one thread of torch: a small model gains little from more. Or one process acts for all
(`model.shared`): a model on an accelerator, or one that is too large for several copies.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any, Self

import numpy as np

from agent.collect.actor import Actor, Done, RemotePolicy
from agent.collect.budget import Meter, Spent
from agent.collect.rollout import Start, Subscriber, rollout
from agent.collect.verify import Verifier, deny
from agent.config import Critic
from agent.organise.episode import Episode
from envs import registry
from envs.observation import Observation
from envs.task import Task
from policies import critic
from policies.action_codec import codec_for
from policies.backend import Backend
from policies.backends.image_size import resolve_image_size
from policies.backends.loading import is_shared
from policies.backends.opening import open_backend
from policies.backends.server.address import ServerAddress
from policies.backends.settings import ModelSettings
from policies.base import Decision
from policies.dialect import dialect_for
from policies.mllm import MLLMPolicy
from policies.threads import one_thread

POLL_S = 0.5  # between checks whether a worker failed
_loaded: tuple[Path | ServerAddress, ModelSettings, Backend] | None = None  # this process's last policy
_messages: Any = None  # in a worker: the queue on which it hands over each finished episode, and asks for decisions
_answers: Any = None  # in a worker: for each worker, the queue of decisions that another process makes


@dataclass(frozen=True)
class Job:
    """What to roll out, and with which settings of `MLLMPolicy` and `rollout`.

    checkpoint: the policy's folder, or its server. starts: `Start`s, or (seed, attempt). n_envs: environments in
    lockstep, of each worker. certify: simulate each episode again; one that differs is broken. snapshots: steps keep
    the environment's state. end_loops: see `rollout`, for a greedy policy. model: how the checkpoint is loaded and
    shown frames.
    """

    task: str
    checkpoint: Path | ServerAddress
    starts: Sequence[Start | tuple[int, int]] = ()
    temperature: float = 0.0
    critic: Critic = field(default_factory=Critic)
    n_envs: int = 64
    sampling_seed: int = 0
    certify: bool = False
    snapshots: bool = False
    end_loops: bool = False
    model: ModelSettings = field(default_factory=ModelSettings)


def sized(job: Job, policy: MLLMPolicy) -> Job:
    """The job with the frame size that its policy's processor wants as a number, for processes without the policy."""
    size = resolve_image_size(policy.backend.settings.image_size, getattr(policy.backend, "processor", None))
    return replace(job, model=replace(job.model, image_size=size)) if size else job


def task_of(job: Job) -> Task:
    """The task of a job that is `sized`, with frames of that size."""
    return registry.task(job.task, resolve_image_size(job.model.image_size, None))


Query = Callable[[MLLMPolicy, Sequence[Observation], Sequence[Any]], Sequence[Any]]  # one detail, one result for each


def propose(policy: MLLMPolicy, observations: Sequence[Observation], draws: Sequence[Sequence[int]]) -> list[Decision]:
    """A query: a decision for each observation. draws: the seeds of each decision's random generator."""
    return policy.act(observations, [np.random.default_rng(seeds) for seeds in draws])


def judge(policy: MLLMPolicy, observations: Sequence[Observation], answers: Sequence[str]) -> list[critic.Critique]:
    """A query: the critic's verdict on each answer, whether it will work."""
    return critic.judge(policy.backend, policy.codec, observations, answers, dialect=policy.dialect)


def _conclude(policy: MLLMPolicy, ends: Sequence[Observation], tasks: Sequence[str]) -> list[critic.Critique]:
    """A query: the critic's verdict on each ending, whether the task is done; all of one task."""
    return critic.conclude(policy.backend, registry.task(tasks[0]).language, ends, policy.dialect)


class Workers:
    """`n` processes that share a job's starts, each with one thread of torch. With n = 1 this process does the work.

    An episode does not depend on the worker that rolls it out.
    """

    def __init__(self, n: int):
        self.n, self._spent = n, Spent()
        if n > 1:
            spawn = multiprocessing.get_context("spawn")  # a forked renderer would share its parent's context
            self._queue, self._answers = spawn.Queue(), [spawn.Queue() for _ in range(n)]
            self._pool = ProcessPoolExecutor(n, spawn, _start, (self._queue, self._answers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.n > 1:
            self._pool.shutdown(cancel_futures=True)

    def take_spent(self) -> Spent:
        """What was spent since the last call."""
        spent, self._spent = self._spent, Spent()
        return spent

    def rollout(self, job: Job, subscribers: Sequence[Subscriber] = ()) -> list[Episode]:
        """One episode for each start, in their order."""
        if self.n == 1:
            return _rollout(job, partial(self._ended, subscribers))
        if not is_shared(job.checkpoint, job.model):
            return self._rollout_parts(job, subscribers)
        with policy_of(job) as policy:
            actor = Actor(policy, self._answers, range(min(self.n, len(job.starts))))
            try:
                return self._rollout_parts(sized(job, policy), subscribers, actor)
            finally:
                actor.stop()

    def _rollout_parts(self, job: Job, subscribers: Sequence[Subscriber], actor: Actor | None = None) -> list[Episode]:
        parts = [replace(job, starts=job.starts[i :: self.n]) for i in range(self.n)]
        futures = [
            self._pool.submit(_rollout_part, part, number if actor else None)
            for number, part in enumerate(parts)
            if part.starts
        ]
        finished: dict[tuple[int, int], Episode] = {}
        while len(finished) < len(job.starts) or (actor and actor.is_awaited):  # a late `Done` is not the next job's
            try:
                message = self._queue.get(timeout=POLL_S)
            except Empty:
                message = None
            for future in futures:
                if future.done():
                    future.result()  # what a worker raised is raised here
            if isinstance(message, tuple):
                episode, spent = message
                finished[episode.seed, episode.attempt] = episode
                self._ended(subscribers, episode, spent)
            elif message:
                actor.handle(message)
        return [finished[start[:2]] for start in job.starts]

    def _ended(self, subscribers: Sequence[Subscriber], episode: Episode, spent: Spent) -> None:
        """The cost of an episode comes first: `take_spent` of a subscriber is what this episode took."""
        self._spent += spent
        for subscriber in subscribers:
            subscriber.on_episode(episode)

    def query(self, query: Query, job: Job, observations: Sequence[Observation], details: Sequence[Any]) -> list[Any]:
        """The job's policy queried about each observation and its detail, outside an episode; one result for each."""
        if self.n == 1 or is_shared(job.checkpoint, job.model):
            at_once = replace(job, n_envs=job.n_envs * self.n)  # as many as in a rollout
            results, spent = _query(query, at_once, observations, details)
            self._spent += spent
            return results
        parts = [(observations[i :: self.n], details[i :: self.n]) for i in range(self.n)]
        futures = [self._pool.submit(_query, query, job, *part) for part in parts]
        results: list[Any] = [None] * len(observations)
        for i, future in enumerate(futures):
            results[i :: self.n], spent = future.result()
            self._spent += spent
        return results

    def certify(self, episodes: Sequence[Episode]) -> None:
        """Simulate the episodes again, and mark those that differ as broken."""
        parts = [list(episodes[i :: self.n]) for i in range(self.n)]
        found = map(_flaws, parts) if self.n == 1 else self._pool.map(_flaws, parts)
        for part, (flaws, spent) in zip(parts, found, strict=True):
            self._spent += spent
            for episode, flaw in zip(part, flaws, strict=True):
                deny(episode, flaw)

    def conclude(self, job: Job, ends: Sequence[Observation]) -> list[critic.Critique]:
        """The verdict of the job's policy on each ending (first and last frame), whether the task is done."""
        return self.query(_conclude, job, ends, [job.task] * len(ends))


@contextmanager
def policy_of(job: Job) -> Iterator[MLLMPolicy]:
    """The job's policy, loaded in this process, with one thread of torch. The last checkpoint stays loaded."""
    global _loaded
    if _loaded is None or _loaded[:2] != (job.checkpoint, job.model):
        release()
        _loaded = job.checkpoint, job.model, open_backend(job.checkpoint, job.model)
    with one_thread():
        task, backend = registry.task(job.task), _loaded[-1]
        dialect = dialect_for(backend.settings, backend.template, task)
        yield MLLMPolicy(backend, codec_for(task), job.temperature, **asdict(job.critic), dialect=dialect)


def release() -> None:
    """Free the memory of the checkpoint that acted last in this process, and of trainers, for the next model.

    A trainer and its callbacks refer to each other, so that its model stays until garbage is collected.
    """
    global _loaded
    _loaded = None
    gc.collect()


def _rollout(job: Job, ended: Callable[[Episode, Spent], None], remote: RemotePolicy | None = None) -> list[Episode]:
    """ended: called with each finished episode and what it took. remote: the policy, where another process acts."""
    meter = Meter(job.starts)
    with nullcontext(remote) if remote else policy_of(job) as policy, Verifier() as verifier:
        certifying = [verifier] if job.certify else []
        return rollout(
            task_of(job if remote else sized(job, policy)),
            policy,
            job.starts,
            job.n_envs,
            [meter, *certifying, _HandOver(ended, meter, verifier)],
            job.sampling_seed,
            job.snapshots,
            job.end_loops,
        )


class _HandOver:
    """A rollout's last subscriber: hands over each episode with what it and its certificate took."""

    def __init__(self, ended: Callable[[Episode, Spent], None], *counting: Meter | Verifier):
        self._ended, self._counting = ended, counting

    def on_episode(self, episode: Episode) -> None:
        spent = Spent()
        for each in self._counting:
            spent += each.spent
            each.spent = Spent()
        self._ended(episode, spent)


def _query(
    query: Query, job: Job, observations: Sequence[Observation], details: Sequence[Any]
) -> tuple[list[Any], Spent]:
    spent = Spent()
    with policy_of(job) as policy:
        results = [
            result
            for i in range(0, len(observations), job.n_envs)
            for result in query(policy, observations[i : i + job.n_envs], details[i : i + job.n_envs])
        ]
    spent.answered(results)
    return results, spent


def _flaws(episodes: Sequence[Episode]) -> tuple[list[str], Spent]:
    with Verifier() as verifier:
        return [verifier.flaw(episode) for episode in episodes], verifier.spent


def _start(messages: Any, answers: Any) -> None:
    global _messages, _answers
    _messages, _answers = messages, answers
    messages.cancel_join_thread()  # after an error nobody reads the queue: unread episodes must not keep a worker alive
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while idle, the parent handles an interrupt
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent does: a parent that is killed cannot stop its workers."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _rollout_part(job: Job, number: int | None) -> None:
    """number: of the worker, where another process acts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    remote = None if number is None else RemotePolicy(number, _messages, _answers[number])
    try:
        _rollout(job, lambda *ended: _messages.put(ended), remote)
    finally:
        if remote:
            _messages.put(Done(number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
