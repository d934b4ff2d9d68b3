"""Rollouts of a checkpoint in several processes.

Each has the model, with one thread of torch: a small model gains little from more. Or one process acts for all
(`model.shared`): a model on an accelerator, or one that is too large for several copies. Or replicas do
(`engine.policies`), each in an actor of its own.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self
from weakref import WeakSet

import numpy as np
import torch

from agent.collect.actor import Actor, RemotePolicy
from agent.collect.budget import Meter, Spent
from agent.collect.cluster import weights
from agent.collect.cluster.connection import check_policies
from agent.collect.cluster.replicas import Answering, grouped
from agent.collect.processes.informed import informed
from agent.collect.processes.pool import Pool
from agent.collect.processes.recovery import Calls, Playing
from agent.collect.processes.serving import Call, beat, here
from agent.collect.processes.watched import Finished, WatchedEnding, WatchedPolicy, WatchedTask
from agent.collect.rollout import Known, Start, Subscriber, rollout
from agent.collect.verify import Verifier, deny, find_flaws
from agent.config import Critic, Engine, Limits
from agent.organise.episode import Episode
from envs import registry
from envs.observation import Observation, Withheld
from envs.task import Task
from policies import critic
from policies.action_codec import codec_for
from policies.backend import Backend
from policies.backends.image_size import resolve_image_size
from policies.backends.loading import is_shared
from policies.backends.opening import image_size_of, open_backend
from policies.backends.server.adapters import LoadedAdapters
from policies.backends.server.address import ServerAddress
from policies.backends.settings import ModelSettings
from policies.base import Decision, Policy
from policies.baselines import with_expert
from policies.dialect import dialect_for
from policies.mllm import MLLMPolicy
from policies.threads import one_thread

_loaded: tuple[Path | ServerAddress, ModelSettings, Backend] | None = None  # this process's last policy
_on_gpus = WeakSet[Any]()  # pools of replicas on GPUs, of this process's `Workers`


@dataclass(frozen=True)
class Job:
    """What to roll out, and with which settings of `MLLMPolicy` and `rollout`.

    checkpoint: the policy's folder, or its server. starts: `Start`s, or (seed, attempt). n_envs: environments in
    lockstep, of each worker. certify: simulate each episode again; one that differs is broken. snapshots: steps keep
    the environment's state. end_loops: see `rollout`, for a greedy policy. model: how the checkpoint is loaded and
    shown frames. proved: an episode of the task has ended whole before, so that none ends the rollout (`rollout`).
    truth: what steps keep of what is known of them (`rollout`). withheld: what the policy is kept from.
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
    proved: bool = False
    truth: Known = "nothing"
    withheld: Withheld | None = None
    model: ModelSettings = field(default_factory=ModelSettings)


def sized(job: Job, policy: MLLMPolicy) -> Job:
    """The job with the frame size that its policy's processor wants as a number, for processes without the policy."""
    processor = getattr(policy.backend, "processor", None)
    return _with_frames(job, resolve_image_size(policy.backend.settings.image_size, processor))


def _with_frames(job: Job, size: int | None) -> Job:
    return replace(job, model=replace(job.model, image_size=size)) if size else job


def task_of(job: Job) -> Task:
    """The task of a job that is `sized`, with frames of that size."""
    chosen = registry.task(job.task, resolve_image_size(job.model.image_size, None))
    chosen = replace(chosen, withheld=job.withheld) if job.withheld else chosen
    return with_expert(chosen) if job.truth == "expert" else chosen


def _pools(n: int, limits: Limits, apart: bool, engine: Engine) -> tuple[Any, Any]:
    """The processes for the work, None where this one does it; and those that answer for the policy, if any do."""
    check_policies(engine)
    if engine.kind == "ray":
        from agent.collect.cluster.pool import RayPool, replicas  # ray is an extra

        return RayPool(n, limits, __name__, engine), replicas(limits, __name__, engine)
    return (Pool(n, limits, preload=__name__) if n > 1 or apart else None), None


Ended = Callable[[Episode, Spent], None]
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

    An episode does not depend on the worker that rolls it out. A worker that dies, or that is past one of the limits,
    is replaced, and what it had not finished is done again (`agent.collect.processes.recovery`). With n = 1 the death
    of this process is the end of the run, which `--resume` goes on with, and nobody watches its clock and memory,
    unless `apart`: then one worker does the work, for environments that others wrote. engine: where they run.
    """

    def __init__(self, n: int, limits: Limits | None = None, apart: bool = False, engine: Engine | None = None):
        self.n, self._limits, self._spent = n, limits or Limits(), Spent()
        self._adapters = LoadedAdapters()
        self._pool, self._replicas = _pools(n, self._limits, apart, engine or Engine())
        _on_gpus.update([self._replicas] if engine and engine.gpus else [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for part in filter(None, (self._replicas, self._pool, self._adapters)):
            part.close()

    def pids(self) -> list[int]:
        """The process ids of the workers that have been started."""
        return self._pool.pids() if self._pool else []

    def take_spent(self) -> Spent:
        """What was spent since the last call."""
        spent, self._spent = self._spent, Spent()
        return spent

    def rollout(self, job: Job, subscribers: Sequence[Subscriber] = ()) -> list[Episode]:
        """One episode for each start, in their order.

        Raises UserError where more than `limits.broken` of the episodes begun by then are broken by dying workers.
        """
        self._adapters.use(job.checkpoint)
        if self._pool is None:
            return _rollout(job, partial(self._ended, subscribers))
        if self._has_replicas(job):
            what, decide = f"observations of {job.task!r}", partial(_deciding, replace(job, starts=()))
            answering = Answering(what, decide, grouped(self.n, job.n_envs, self._replicas.n))
            shown = _with_frames(job, image_size_of(job.checkpoint, job.model))
            return self._rollout_parts(shown, subscribers, answering)
        if not is_shared(job.checkpoint, job.model):
            return self._rollout_parts(job, subscribers)
        with policy_of(job) as policy:
            return self._rollout_parts(sized(job, policy), subscribers, Actor(policy))

    def _has_replicas(self, job: Job) -> bool:
        """Whether replicas answer for the job's policy; a server is asked by the workers."""
        return self._replicas is not None and isinstance(job.checkpoint, Path)

    def _rollout_parts(
        self, job: Job, subscribers: Sequence[Subscriber], actor: Actor | Answering | None = None
    ) -> list[Episode]:
        def call(starts: Sequence[Start]) -> Call:
            proved = job.proved or any(e.ending != "broken" for e in playing.finished.values())
            part = replace(job, starts=starts, proved=proved)
            call = informed(_rollout_part, part, actor is not None, self._limits.episode_s)
            return call if actor else _reading(call, job)

        starts = [Start(*start) for start in job.starts]
        parts = [starts[i :: self.n] for i in range(self.n)]
        task = registry.task(job.task).name
        playing = Playing(task, parts, call, job.n_envs, self._limits.broken, partial(self._ended, subscribers), actor)
        self._pool.run(playing, *([(self._replicas, actor)] if isinstance(actor, Answering) else []))
        return [playing.finished[start[:2]] for start in starts]

    def _ended(self, subscribers: Sequence[Subscriber], episode: Episode, spent: Spent) -> None:
        """The cost comes first: `take_spent` of a subscriber is what this episode took."""
        self._spent += spent
        for subscriber in subscribers:
            subscriber.on_episode(episode)

    def query(self, query: Query, job: Job, observations: Sequence[Observation], details: Sequence[Any]) -> list[Any]:
        """The job's policy queried about each observation and its detail, outside an episode; one result for each.

        Raises UserError where two workers die over the same observations.
        """
        self._adapters.use(job.checkpoint)
        pool, n = (self._replicas, self._replicas.n) if self._has_replicas(job) else (self._pool, self.n)
        if pool is None or (pool is self._pool and is_shared(job.checkpoint, job.model)):
            at_once = replace(job, n_envs=job.n_envs * self.n)  # as many as in a rollout
            results, spent = _query(query, at_once, observations, details)
            self._spent += spent
            return results
        slices = [slice(i, None, n) for i in range(min(n, len(observations)))]
        calls = [_reading(informed(_query, query, job, observations[some], details[some]), job) for some in slices]
        results: list[Any] = [None] * len(observations)
        for some, (answers, spent) in zip(slices, _run(pool, f"a query about {job.task!r}", calls), strict=True):
            results[some] = answers
            self._spent += spent
        return results

    def certify(self, episodes: Sequence[Episode]) -> None:
        """Simulate the episodes again, and mark those that differ as broken.

        Raises UserError where two workers die over the same episodes.
        """
        parts = [list(episodes[i :: self.n]) for i in range(min(self.n, len(episodes)))]
        if self._pool is None:
            found = map(find_flaws, parts)
        else:
            found = _run(self._pool, "the certificates of episodes", [informed(find_flaws, part) for part in parts])
        for part, (flaws, spent) in zip(parts, found, strict=True):
            self._spent += spent
            for episode, flaw in zip(part, flaws, strict=True):
                deny(episode, flaw)

    def conclude(self, job: Job, ends: Sequence[Observation]) -> list[critic.Critique]:
        """The verdict of the job's policy on each ending (first and last frame), whether the task is done."""
        return self.query(_conclude, job, ends, [job.task] * len(ends))


def _run(pool: Any, what: str, calls: Sequence[Call]) -> list[Any]:
    """The results of the calls, in their order."""
    work = Calls(what, calls)
    pool.run(work)
    return work.results


def _reading(call: Call, job: Job) -> Call:
    """The call, with the checkpoint that its worker loads."""
    return replace(call, checkpoint=job.checkpoint) if isinstance(job.checkpoint, Path) else call


@contextmanager
def policy_of(job: Job) -> Iterator[MLLMPolicy]:
    """The job's policy, loaded in this process, with one thread of torch. The last checkpoint stays loaded."""
    global _loaded
    checkpoint = weights.found(job.checkpoint)
    if _loaded is None or _loaded[:2] != (checkpoint, job.model):
        _forget()
        _loaded = checkpoint, job.model, open_backend(checkpoint, job.model)
        if here() and isinstance(model := getattr(_loaded[-1], "model", None), torch.nn.Module):
            model.register_forward_pre_hook(lambda *_: beat())  # many answers from a large model take a while
    with one_thread():
        task, backend = registry.task(job.task), _loaded[-1]
        dialect = dialect_for(backend.settings, backend.template, task)
        yield MLLMPolicy(backend, codec_for(task), job.temperature, **asdict(job.critic), dialect=dialect)


def release() -> None:
    """Free the memory of the checkpoint that acted last in this process, of replicas on GPUs, and of trainers, for the
    next model."""
    for pool in _on_gpus:
        pool.rest()
    _forget()


def _forget() -> None:
    """A trainer and its callbacks refer to each other, so that its model stays until garbage is collected."""
    global _loaded
    _loaded = None
    gc.collect()


def _deciding(job: Job, observations: Sequence[Observation], seeds: Sequence[int]) -> Call:
    """The call that lets a replica decide for workers."""
    return _reading(informed(_decide, job, observations, seeds), job)


def _decide(job: Job, observations: Sequence[Observation], seeds: Sequence[int]) -> list[Decision]:
    with policy_of(job) as policy:
        return policy.decide(observations, seeds)


def _rollout(job: Job, ended: Ended) -> list[Episode]:
    with policy_of(job) as policy:
        return _play(job, task_of(sized(job, policy)), policy, (), ended)


def _rollout_part(job: Job, is_remote: bool, episode_s: float | None) -> None:
    """In a worker: each episode is sent with what it took. is_remote: another process acts."""
    connection, pulse = here()
    order = {start[:2]: i for i, start in enumerate(job.starts)}

    def send(episode: Episode, spent: Spent) -> None:
        pulse.rest()
        connection.send(Finished(episode, spent))
        episode.steps.clear()  # the rollout returns all its episodes, and here nobody reads them

    with nullcontext(RemotePolicy(connection)) if is_remote else policy_of(job) as policy:
        task = WatchedTask(task_of(job if is_remote else sized(job, policy)), pulse, episode_s)
        _play(job, task, WatchedPolicy(policy, pulse), [WatchedEnding(order, pulse)], send)


def _play(job: Job, task: Task, policy: Policy, first: Sequence[Subscriber], ended: Ended) -> list[Episode]:
    """first: subscribers before the certificate. ended: called with each episode and what it took."""
    meter = Meter(job.starts)
    with Verifier() as verifier:
        certifying = [verifier] if job.certify else []
        subscribers = [*first, meter, *certifying, _HandOver(ended, meter, verifier)]
        how = job.sampling_seed, job.snapshots, job.end_loops, job.proved, job.truth
        return rollout(task, policy, job.starts, job.n_envs, subscribers, *how)


class _HandOver:
    """A rollout's last subscriber: hands over each episode with what it and its certificate took."""

    def __init__(self, ended: Ended, *counting: Meter | Verifier):
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
    spent, results = Spent(), []
    with policy_of(job) as policy:
        for i in range(0, len(observations), job.n_envs):
            beat()
            results += query(policy, observations[i : i + job.n_envs], details[i : i + job.n_envs])
    spent.answered(results)
    return results, spent
