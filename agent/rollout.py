"""Observe, decide, act, record: N environments in lockstep, one task at a time."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.episode import Episode, Step, simulation_versions
from envs.errors import UserError
from envs.observation import Observation
from envs.registry import Task
from envs.snapshot import Restorable
from policies.base import Decision, Policy
from policies.baselines import ExpertPolicy


class Subscriber(Protocol):
    """Something that wants to know of every finished episode: a store, a video, a progress bar."""

    def on_episode(self, episode: Episode) -> None: ...


@dataclass
class _Slot:
    env: Restorable
    episode: Episode
    observation: Observation
    rng: np.random.Generator
    fingerprint: bytes = b""


def rollout(
    task: Task,
    policy: Policy | ExpertPolicy,
    starts: Iterable[tuple[int, int]],
    n_envs: int = 64,
    subscribers: Sequence[Subscriber] = (),
    sampling_seed: int = 0,
) -> list[Episode]:
    """Play one episode for each start, a (seed, attempt), and return them in the order of the starts.

    Each start is played once whatever its length, so quick failures are not counted more often. What an episode draws
    at random depends on `sampling_seed` and its start alone: not on `n_envs`, nor on what is played beside it.
    """
    starts = list(starts)
    waiting, finished = deque(starts), {}
    idle, slots = [task.make() for _ in range(min(n_envs, len(starts)))], []
    try:
        while waiting or slots:
            while idle and waiting:
                slots.append(_begin(task, idle.pop(), *waiting.popleft(), sampling_seed))
            decisions = _decide(policy, [slot for slot in slots if slot.episode.ending != "broken"])
            for slot in slots:
                if slot.episode.ending != "broken":
                    _advance(task, slot, next(decisions))
            for slot in [slot for slot in slots if slot.episode.final_frame is not None or slot.episode.error]:
                slots.remove(slot)
                finished[slot.episode.seed, slot.episode.attempt] = slot.episode
                for subscriber in subscribers:
                    subscriber.on_episode(slot.episode)
                if slot.episode.ending == "broken":  # who knows in what state it is
                    slot.env.close()
                    slot.env = task.make()
                idle.append(slot.env)
    finally:
        for env in (*idle, *(slot.env for slot in slots)):
            env.close()
    return [finished[start] for start in starts]


def _begin(task: Task, env: Restorable, seed: int, attempt: int, sampling_seed: int) -> _Slot:
    rng = np.random.default_rng([sampling_seed, seed, attempt])
    episode = Episode(task.name, seed, attempt, versions=simulation_versions())
    slot = _Slot(env, episode, None, rng)  # type: ignore[arg-type]
    try:
        env.reset(seed=seed)
        slot.observation, slot.fingerprint = task.observe(env), env.fingerprint()
    except UserError:  # a machine that cannot render breaks every episode
        raise
    except Exception as error:  # whatever an environment raises breaks its episode, not the run
        _break(slot.episode, error)
    return slot


def _decide(policy: Policy | ExpertPolicy, slots: list[_Slot]) -> Iterable[Decision]:
    if not slots:
        return iter(())
    if isinstance(policy, ExpertPolicy):
        return iter(policy.act_on([slot.env for slot in slots]))
    return iter(policy.act([slot.observation for slot in slots], [slot.rng for slot in slots]))


def _advance(task: Task, slot: _Slot, decision: Decision) -> None:
    episode = slot.episode
    try:
        _, reward, terminated, truncated, info = slot.env.step(decision.action)
        episode.steps.append(Step(slot.observation, decision, float(reward), slot.fingerprint))
        slot.observation, slot.fingerprint = task.observe(slot.env), slot.env.fingerprint()
        success = bool(info["success"])
    except Exception as error:  # whatever an environment raises breaks its episode, not the run
        _break(episode, error)
        return
    if terminated or truncated:
        episode.ending = "terminated" if terminated else "truncated"
        episode.success = success
        episode.final_frame = slot.observation.frames[-1]
        episode.final_proprioception = slot.observation.proprioception
        episode.final_fingerprint = slot.fingerprint


def _break(episode: Episode, error: Exception) -> None:
    episode.ending, episode.error = "broken", f"{type(error).__name__}: {error}"
