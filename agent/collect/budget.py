"""What a run spends, counted in the process that plays, as it plays, and added up by the one that runs the rounds."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np

from agent.organise.episode import Episode
from envs import registry
from envs.observation import Observation
from envs.snapshot import Snapshot
from envs.task import Task
from policies.base import Decision, Policy
from policies.critic import Critique


@dataclass
class Spent:
    """Counts that add up.

    env_steps: of `env.step`, of episodes as they are recorded. restore_env_steps: the actions taken again on the way
    back to a state that could not be copied. verify_env_steps, verify_frames: of certificates, their restores too.
    frames: pictures rendered for a policy to see, cameras x observations, those of restores too. decisions: asked of
    the policy in episodes. proposals: all answers that it drew, for decisions (with their revisions) and for branches.
    critiques: verdicts asked, on answers and on endings. certificates: episodes simulated again.

    Not counted: pictures for people (films); what checks do before a run starts; the answer of its own that a critic
    gives before a verdict, which is part of the critique; the first picture that a history of frames draws when a
    copied state is returned to; and what an environment did in a step or reset that raised.
    """

    env_steps: int = 0
    restore_env_steps: int = 0
    verify_env_steps: int = 0
    frames: int = 0
    verify_frames: int = 0
    decisions: int = 0
    proposals: int = 0
    critiques: int = 0
    certificates: int = 0

    def __iadd__(self, other: "Spent") -> Self:
        for name, n in asdict(other).items():
            setattr(self, name, getattr(self, name) + n)
        return self

    def answered(self, answers: Iterable[Decision | Critique]) -> None:
        """Count the proposals and critiques behind what a policy answered."""
        for answer in answers:
            if isinstance(answer, Critique):
                self.critiques += 1
            else:
                self.proposals += max(1, len(answer.proposals))
                self.critiques += len(answer.proposals) or answer.verdict is not None


class MeteredPolicy:
    """A policy around a policy, which counts what it is asked."""

    def __init__(self, policy: Policy, spent: Spent):
        self.policy, self.spent = policy, spent

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]:
        decisions = self.policy.act(observations, rngs)
        self.spent.decisions += len(decisions)
        self.spent.answered(decisions)
        return decisions


@dataclass
class Meter:
    """A rollout's subscriber, which counts steps and frames of each finished episode."""

    spent: Spent = field(default_factory=Spent)

    def on_episode(self, episode: Episode) -> None:
        moment, n = episode.begins_at, len(episode.steps)
        self.spent.env_steps += n
        if moment:
            self.spent.restore_env_steps += len(moment.snapshot.actions)
        if n:
            task = registry.task(episode.task)
            first = restore_views(task, moment.snapshot) if moment else 1
            self.spent.frames += (first + n) * views(task, episode.steps[0].observation)


def views(task: Task, observation: Observation) -> int:
    """Pictures that one observation adds, one of each camera: a history keeps those of the observations before."""
    return len(observation.frames) // task.env.frames


def restore_views(task: Task, snapshot: Snapshot) -> int:
    """Observations rendered by a return to a state: where the actions are taken again, a history draws each."""
    return 1 + len(snapshot.actions) if task.env.frames > 1 and snapshot.attributes is None else 0
