"""What a run spends: each worker process counts its own, and the process that runs the rounds adds the counts up."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Self

from agent.collect.rollout import Start
from agent.organise.episode import Episode
from envs import registry
from envs.observation import Observation
from envs.snapshot import Snapshot
from envs.task import Task
from policies.base import Decision
from policies.critic import Critique


@dataclass
class Spent:
    """Counts that add up.

    env_steps: calls of `env.step` in recorded episodes.
    restore_env_steps: actions repeated to restore a state that could not be copied.
    verify_env_steps, verify_frames: steps and frames of replay certificates, their restores included.
    frames: images rendered for a policy (cameras x observations), those of restores included.
    decisions: decisions of the policy in episodes.
    proposals: answers drawn for decisions (revisions included) and for branches.
    critiques: verdicts on answers and on endings.
    certificates: episodes simulated again.

    Episodes that are filmed count as others do. Not counted: their second simulation, which renders the film; the
    checks before a run starts and of the way back to a state (`envs.checks.restores`); the critic's own greedy answer
    before a verdict (part of the critique); the first frame that a frame history renders after a copied state is
    restored; a step or reset that raised, with its decision.
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
        """Count the proposals and critiques that these decisions and critiques took."""
        for answer in answers:
            if isinstance(answer, Critique):
                self.critiques += 1
            else:
                self.proposals += max(1, len(answer.proposals))
                self.critiques += len(answer.proposals) or answer.verdict is not None


class Meter:
    """A rollout's subscriber that counts what each finished episode took, and nothing of those that have not ended.

    starts: of the rollout; a decision that a start gives is none of the policy's.
    """

    def __init__(self, starts: Iterable[Start | tuple[int, int]]) -> None:
        self.spent = Spent()
        self._given = {start[:2] for start in starts if len(start) > 2 and start.first is not None}

    def on_episode(self, episode: Episode) -> None:
        moment, n = episode.begins_at, len(episode.steps)
        decided = episode.steps[(episode.seed, episode.attempt) in self._given :]
        self.spent.decisions += len(decided)
        self.spent.answered(step.decision for step in decided)
        self.spent.env_steps += n
        if moment:
            self.spent.restore_env_steps += len(moment.snapshot.repeated)
        if n:
            task = registry.task(episode.task)
            first = restore_views(task, moment.snapshot) if moment else 1
            self.spent.frames += (first + n) * views(task, episode.steps[0].observation)


def views(task: Task, observation: Observation) -> int:
    """Images that one observation renders, one for each camera; a frame history holds those of earlier observations."""
    return observation.n_frames // task.env.frames


def restore_views(task: Task, snapshot: Snapshot) -> int:
    """Observations that a restore renders: all on the way where actions are repeated under a frame history, else 0."""
    return 1 + len(snapshot.actions) if task.env.frames > 1 and snapshot.is_repeated else 0
