"""The stages of a round, each a call: play episodes with a checkpoint, make a better checkpoint from them."""

import itertools
import random
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from agent.collect.archive import Archive
from agent.collect.branching import Branching, within
from agent.collect.relabel import relabelled
from agent.collect.rollout import Start
from agent.collect.workers import Job, Workers, judge
from agent.config import Config
from agent.measure.statistics import successes
from agent.optimise.dpo import train_dpo
from agent.optimise.sft import train_sft
from agent.organise import pairs
from agent.organise.critiques import measured
from agent.organise.episode import Episode
from agent.organise.rows import Example, rehearsal
from agent.organise.store import EpisodeStore
from agent.record import video
from agent.record.console import bar
from agent.record.rundir import RunDir
from agent.record.tracking import Tracker
from envs.errors import UserError
from envs.splits import seeds
from policies.backend_hf import HFBackend

SEEDS_PER_RUN = 10_000  # practice seeds set aside for each seed of a run
ARCHIVED = 200  # successes of a task, at most, whose states are started from
VIDEO_START = 500_000  # videos show held-out seeds that no statistics use


def practice_seeds(config: Config, number: int) -> range:
    """The starts of a round: new ones each round, others for each seed of a run. Raises UserError for too many."""
    n = config.collect.starts
    if number * n > SEEDS_PER_RUN:
        raise UserError(f"{number} rounds of {n} starts; valid: at most {SEEDS_PER_RUN} starts in all")
    return seeds("practice", n, config.seed * SEEDS_PER_RUN + (number - 1) * n)


def branch_seeds(config: Config, number: int) -> range:
    """The starts of a round's own failures to branch from, none of them practised. Raises UserError for too many."""
    practised, n = config.collect.starts, config.branch.starts
    if number * (practised + n) > SEEDS_PER_RUN:
        raise UserError(
            f"{number} rounds of {practised} starts and {n} to branch from; valid: at most {SEEDS_PER_RUN} in all"
        )
    return seeds("practice", n, (config.seed + 1) * SEEDS_PER_RUN - number * n)


def gate_seeds(config: Config, number: int) -> range:
    """The gate's starts in a round, new ones each round. Raises UserError for too many."""
    n = config.gate.episodes
    return seeds("gate", n, (number - 1) * n)


class TrackTraining(TrainerCallback):
    """Sends a trl trainer's own numbers to the tracker, under a prefix."""

    def __init__(self, tracker: Tracker, prefix: str):
        self.tracker, self.prefix = tracker, prefix

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self.tracker.log({f"{self.prefix}/{name}": value for name, value in (logs or {}).items()})


class Player:
    """Plays a checkpoint's episodes for practice, gate and report, and keeps count of what was spent."""

    def __init__(self, config: Config, run: RunDir, tracker: Tracker, workers: Workers):
        self.config, self.run, self.tracker, self.workers = config, run, tracker, workers
        self.archive = Archive(ARCHIVED, np.random.default_rng(config.seed))
        self.budget = dict.fromkeys(("env_steps", "practice_env_steps", "branch_env_steps", "frames", "decisions"), 0)

    def practise(self, checkpoint: Path, number: int) -> tuple[list[Episode], list[Episode]]:
        """K sampled attempts from each of the round's own starts, and from each of some states in the archive.

        Certified and stored in the round's folder. Those from the archive are branches of what is archived.
        """
        c, played, archived = self.config.collect, [], []
        starts = list(itertools.product(practice_seeds(self.config, number), range(c.attempts)))
        at_once = max(1, self.config.workers * self.config.n_envs // c.attempts) * c.attempts
        snapshots = self.config.branch.failures > 0 or c.archived > 0
        for task in self.config.tasks:
            job = self._job(task, checkpoint, (), temperature=c.temperature, certify=True, snapshots=snapshots)
            archived += self._practise_archived(job)
            whole = within(c.env_steps, starts, at_once, partial(self._practise, job))
            if c.archived:
                self.archive.add(whole)
            played += whole
        EpisodeStore(self.run.round(number) / "episodes").append(played + archived)
        return played, archived

    def branch(self, checkpoint: Path, practised: Sequence[Episode], number: int) -> list[Episode]:
        """Other answers at moments of failures, certified and stored in the round's folder.

        The failures are of this round's practice, or of new episodes played as branches are followed, which come too.
        """
        settings, played = self.config.branch, []
        for task in self.config.tasks if settings.failures or settings.starts else ():
            hot = settings.follow_temperature
            job = self._job(task, checkpoint, (), temperature=hot, certify=True, end_loops=hot == 0)
            rng = np.random.default_rng([self.config.seed, number])
            branching = Branching(self.workers, job, self._follow, self.config.collect.attempts, rng)
            tried = branching.explore([e for e in practised if e.task == task], settings)
            tried += branching.explore_own(branch_seeds(self.config, number), settings)
            played += self._concluded(job, tried)
            self.tracker.log({f"branch/{task}/{name}": value for name, value in branching.agreement().items()})
        if played:
            EpisodeStore(self.run.round(number) / "branches").append(played)
        return played

    def criticise(self, checkpoint: Path, tried: Sequence[Episode]) -> list[list[tuple[float, bool]]]:
        """For each task the critic's verdicts on answers that were measured, and whether these did as well as any.

        It was not taught yet that they did.
        """
        result = []
        for task, answers in measured(tried).items():
            observations, said = [o for o, _, _ in answers], [answer for _, answer, _ in answers]
            critiques = self.workers.ask(judge, self._job(task, checkpoint, ()), observations, said)
            result.append([(c.verdict, good) for c, (_, _, good) in zip(critiques, answers, strict=True)])
        return result

    def relabel(self, practised: Sequence[Episode], number: int) -> list[Episode]:
        """What this round's failures are under other goals, where that is asked for; stored in the round's folder."""
        if not self.config.select.relabel:
            return []
        found, steps = relabelled(practised)
        self.budget["branch_env_steps"] += steps
        self.tracker.log({"relabel/successes": len(found)})
        if found:
            EpisodeStore(self.run.round(number) / "relabelled").append(found)
        return found

    def gate(self, role: str, checkpoint: Path, number: int) -> list[Episode]:
        """Greedy episodes on the gate's seeds of the round, with conclusions to audit the critic by.

        New seeds each round: on the same ones the best of several candidates would pass for its luck.
        """
        starts, played = [(seed, 0) for seed in gate_seeds(self.config, number)], []
        for task in self.config.tasks:
            job = self._greedy(task, checkpoint, starts)
            played += self._concluded(job, self._measure(f"gate {role} {task}", job))
        return played

    def report(self, checkpoint: Path) -> dict[str, list[Episode]]:
        """Greedy episodes on held-out seeds, of every task of the report."""
        evaluation = self.config.evaluation
        starts = [(seed, 0) for seed in seeds("heldout", evaluation.episodes)]
        return {
            task: self._measure(f"held-out {task}", self._greedy(task, checkpoint, starts)) for task in evaluation.tasks
        }

    def film(self, checkpoint: Path, number: int) -> list[Path]:
        """The same few held-out episodes each time, as videos in the round's folder."""
        evaluation, paths = self.config.evaluation, []
        for task in evaluation.tasks if evaluation.videos else ():
            starts = [(seed, 0) for seed in seeds("heldout", evaluation.videos, VIDEO_START)]
            played = self._play(f"film {task}", self._greedy(task, checkpoint, starts))
            name = re.sub(r"[^\w-]+", "_", task)  # that of a declared task is a path, and may lead out of the run
            for i, episode in enumerate(e for e in played if e.ending != "broken"):
                paths.append(self.run.round(number) / "videos" / f"{name}-{i}.mp4")
                video.write(paths[-1], [video.film(episode)])
                self.tracker.video(f"video/{task}-{i}", paths[-1])
        return paths

    def _practise(self, job: Job, starts: Sequence[Start | tuple[int, int]]) -> list[Episode]:
        episodes = self._concluded(job, self._measure(f"practise {job.task}", replace(job, starts=starts)))
        self.budget["practice_env_steps"] += sum(len(e.steps) for e in episodes)  # of env_steps
        return episodes

    def _practise_archived(self, job: Job) -> list[Episode]:
        c = self.config.collect
        points = self.archive.points(job.task, c.archived)
        if not points:
            return []
        ways = [(point, k) for point in points for k in range(c.attempts)]
        rests = self._practise(job, [point.start(k, k) for point, k in ways])
        episodes = [point.graft(rest) for (point, _), rest in zip(ways, rests, strict=True)]
        for i, point in enumerate(points):
            tried = [e for e in episodes[i * c.attempts : (i + 1) * c.attempts] if e.ending != "broken"]
            if tried:
                self.archive.learn(point, sum(e.success for e in tried), len(tried))
        return episodes

    def _follow(self, title: str, job: Job) -> list[Episode]:
        return self._play(title, job, "branch_env_steps")

    def _job(self, task: str, checkpoint: Path, starts: Sequence[tuple[int, int]], **settings: Any) -> Job:
        return Job(task, checkpoint, starts, n_envs=self.config.n_envs, sampling_seed=self.config.seed, **settings)

    def _greedy(self, task: str, checkpoint: Path, starts: Sequence[tuple[int, int]]) -> Job:
        return self._job(task, checkpoint, starts, critic=self.config.critic)

    def _measure(self, title: str, job: Job) -> list[Episode]:
        """Episodes to count. Raises UserError where all are broken; a film or branch that breaks is only left out."""
        episodes = self._play(title, job)
        successes(episodes)
        return episodes

    def _play(self, title: str, job: Job, charged_to: str = "env_steps") -> list[Episode]:
        with bar(title, len(job.starts)) as progress:
            episodes = self.workers.play(job, [progress])
        steps = sum(len(e.steps) for e in episodes)
        for name in (charged_to, "frames", "decisions"):
            self.budget[name] += steps
        whole = [e.success for e in episodes if e.ending != "broken"]
        numbers = {
            "success": np.mean(whole) if whole else float("nan"),
            "reward": np.mean([e.total_reward for e in episodes]),
            "steps": steps / len(episodes),
            "broken": sum(e.ending == "broken" for e in episodes),
            "decisions_per_s": steps / progress.elapsed_s,
        }
        self.tracker.log({f"{title.replace(' ', '/')}/{name}": float(value) for name, value in numbers.items()})
        return episodes

    def _concluded(self, job: Job, episodes: list[Episode]) -> list[Episode]:
        """The episodes, with the policy's own word which of them succeeded."""
        whole = [e for e in episodes if e.end]
        for episode, conclusion in zip(whole, self.workers.conclude(job, [e.end for e in whole]), strict=True):
            episode.conclusion = conclusion
        return episodes


class Optimiser:
    """Makes a candidate from the incumbent and what was practised."""

    def __init__(self, config: Config, tracker: Tracker):
        self.config, self.tracker = config, tracker

    def imitate(self, checkpoint: Path, examples: Iterable[Example], out: Path) -> Path:
        """SFT on the examples; without any, the checkpoint as it is."""
        rows = list(examples)
        if not rows:
            return _copy(checkpoint, out)
        backend = HFBackend.load(checkpoint)
        random.Random(self.config.seed).shuffle(rows)
        with bar("imitate (SFT)") as progress:
            callbacks = [progress, TrackTraining(self.tracker, "sft")]
            train_sft(
                backend.model, backend.processor, rows, out, {"seed": self.config.seed} | self.config.sft, callbacks
            )
        backend.save(out)
        return out

    def prefer(
        self,
        checkpoint: Path,
        preferences: Sequence[pairs.Pair],
        examples: Sequence[Example],
        questions: Sequence[Example],
        out: Path,
    ) -> Path:
        """DPO with an SFT term, against the checkpoint itself; without pairs, the checkpoint as it is.

        Some examples and the questions to the critic are imitated between the pairs, which are few: alone they undo
        what they do not show.
        """
        if not preferences:
            return _copy(checkpoint, out)
        select, rng = self.config.select, random.Random(self.config.seed)
        rows = list(preferences) * select.pair_repeats
        rehearsed = rng.sample(examples, min(select.rehearsed, len(examples)))
        rows += map(rehearsal, [*rehearsed, *questions])
        backend, reference = HFBackend.load(checkpoint), HFBackend.load(checkpoint)
        with bar("prefer (DPO)") as progress:
            callbacks = [progress, TrackTraining(self.tracker, "dpo")]
            settings = {"seed": self.config.seed} | self.config.dpo
            train_dpo(backend.model, reference.model, backend.processor, rows, out, settings, callbacks)
        backend.save(out)
        return out


def _copy(checkpoint: Path, out: Path) -> Path:
    return Path(shutil.copytree(checkpoint, out, dirs_exist_ok=True))
