"""What every stage of a round is given: the run's config and folders, its workers, and a count of what is spent.

A stage is a function of the config and of folders into a folder of its own, named below. Its random numbers come from
(seed, round, stage), so that a stage draws the same whatever ran before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from agent.collect.budget import Spent
from agent.collect.workers import Job, Workers
from agent.config import Config
from agent.measure.statistics import successes
from agent.organise import selection
from agent.organise.episode import Episode
from agent.organise.store import EpisodeStore
from agent.record import provenance
from agent.record.console import bar
from agent.record.rundir import RunDir
from agent.record.tracking import Tracker

SPENT = ("practice_env_steps", "branch_env_steps", *(each.name for each in fields(Spent)))


class Round:
    """Round `number` of a run; round 0 is before the first. budget: what the rounds have spent so far, in place."""

    def __init__(
        self, number: int, config: Config, run: RunDir, workers: Workers, tracker: Tracker, budget: dict[str, int]
    ):
        self.number, self.config, self.run = number, config, run
        self.workers, self.tracker, self.budget = workers, tracker, budget

    # folders -----------------------------------------------------------------------------------------------------
    @property
    def folder(self) -> Path:
        return self.run.round(self.number)

    @property
    def imitator(self) -> Path:
        """The checkpoint that SFT makes."""
        return self.folder / "sft"

    @property
    def candidate(self) -> Path:
        """The checkpoint that DPO makes of it."""
        return self.folder / "policy"

    def before(self, back: int = 1) -> "Round":
        """An earlier round of the run."""
        return Round(self.number - back, self.config, self.run, self.workers, self.tracker, self.budget)

    def latest(self) -> Iterator["Round"]:
        """The rounds whose successes are imitated, this one the last."""
        for back in reversed(range(min(self.config.select.rounds, self.number))):
            yield self.before(back)

    def store(self, name: str) -> EpisodeStore:
        """Episodes of this round: `episodes`, `archived`, `relabelled` or `branches`."""
        return EpisodeStore(self.folder / name)

    def episodes(self, *names: str) -> list[Episode]:
        """All episodes of these stores; none of one that is not there."""
        return [episode for name in names for episode in self.store(name)]

    def practice(self) -> list[Episode]:
        """What is learned from: practice, the branches of the round before, and failures under other goals.

        As the environment's reward has it, or as the critic has it; the thoughts of successes relabelled.
        """
        return self.proven(
            self.seen([*self.episodes("episodes", "archived"), *self.before().episodes("branches")])
            + self.episodes("relabelled")
        )

    def seen(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with success by the word that counts: the reward's, or the critic's."""
        return selection.as_judged(episodes) if self.config.select.by == "critic" else list(episodes)

    def proven(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes, the thoughts of successes corrected where that is asked for."""
        return selection.hindsight(episodes) if self.config.select.hindsight else list(episodes)

    def sign(self, checkpoint: Path, parent: Path, stage: str) -> None:
        """Write into a checkpoint's folder what it was made of. stage: `sft` or `dpo`."""
        config = provenance.config_sha256(asdict(self.config))
        run = str(self.run.path)
        provenance.sign(checkpoint, parent, run=run, round=self.number, stage=stage, config_sha256=config)

    # random numbers ----------------------------------------------------------------------------------------------
    def rng(self, stage: str) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, self.number, crc32(stage.encode())])

    # playing -----------------------------------------------------------------------------------------------------
    def job(self, task: str, checkpoint: Path, **settings: Any) -> Job:
        return Job(task, checkpoint, n_envs=self.config.n_envs, sampling_seed=self.config.seed, **settings)

    def play(self, title: str, job: Job, charged_to: str = "env_steps") -> list[Episode]:
        """Play the job, charge what it spent, and log it under the title."""
        with bar(title, len(job.starts)) as progress:
            episodes = self.workers.rollout(job, [progress])
        steps = sum(len(e.steps) for e in episodes)
        self.charge(self.workers.take_spent(), charged_to)
        whole = [e.success for e in episodes if e.ending != "broken"]
        self.log(
            title.replace(" ", "/"),
            {
                "success": np.mean(whole) if whole else float("nan"),
                "reward": np.mean([e.total_reward for e in episodes]),
                "steps": steps / len(episodes),
                "broken": sum(e.ending == "broken" for e in episodes),
                "decisions_per_s": steps / progress.elapsed_s,
            },
        )
        return episodes

    def charge(self, spent: Spent, charged_to: str = "env_steps") -> None:
        """Add to the run's budget. charged_to: whose steps they are, `env_steps` or `branch_env_steps`."""
        for name, n in asdict(spent).items():
            self.budget[charged_to if name == "env_steps" else name] += n

    def measure(self, title: str, job: Job) -> list[Episode]:
        """Episodes to count. Raises UserError where all are broken; a film or branch that breaks is only left out."""
        episodes = self.play(title, job)
        successes(episodes)
        return episodes

    def concluded(self, job: Job, episodes: list[Episode]) -> list[Episode]:
        """The episodes, with the verdict of the job's policy on which of them succeeded."""
        whole = [e for e in episodes if e.end]
        for episode, conclusion in zip(whole, self.workers.conclude(job, [e.end for e in whole]), strict=True):
            episode.conclusion = conclusion
        return episodes

    def log(self, prefix: str, numbers: Mapping[str, float]) -> None:
        self.tracker.log({f"{prefix}/{name}": float(value) for name, value in numbers.items()})
