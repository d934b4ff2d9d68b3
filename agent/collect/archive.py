"""An archive of successes, from whose states practice restarts: a reverse curriculum.

Restarts move from the end of a success towards its start as the policy gets better (Florensa et al., 2017, "Reverse
Curriculum Generation for Reinforcement Learning"; Salimans and Chen, 2018, "Learning Montezuma's Revenge from a Single
Demonstration"): near the goal even a poor policy succeeds at times.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from agent.collect.branching import Point
from agent.organise.episode import Episode
from agent.organise.store import EpisodeStore

STEPS = "steps.json"
HOPELESS, EASY = 0.1, 0.9  # success rates between which a state is worth practising from


@dataclass
class _Trail:
    """A success, and the step before which practice begins."""

    episode: Episode
    step: int


class Archive:
    """Successes of each task, at most `capacity`, of different starts that are not easy from their beginning."""

    def __init__(self, capacity: int, rng: np.random.Generator):
        self._capacity, self._rng = capacity, rng
        self._trails: dict[str, dict[int, _Trail]] = defaultdict(dict)  # task -> seed -> trail

    @classmethod
    def load(cls, folder: Path, capacity: int, rng: np.random.Generator) -> Self:
        """From the folder that `save` made; empty where there is none."""
        archive = cls(capacity, rng)
        if folder.exists():
            steps = json.loads((folder / STEPS).read_text())
            for episode, step in zip(EpisodeStore(folder), steps, strict=True):
                archive._trails[episode.task][episode.seed] = _Trail(episode, step)
        return archive

    def save(self, folder: Path) -> None:
        """Into a folder that does not exist yet: the episodes, and before which step of each practice begins."""
        trails = [trail for of_task in self._trails.values() for trail in of_task.values()]
        EpisodeStore(folder).append(trail.episode for trail in trails)
        (folder / STEPS).write_text(json.dumps([trail.step for trail in trails]))

    def add(self, attempts: Sequence[Episode]) -> None:
        """Add the shortest success of each start with mixed outcomes; `attempts` are whole episodes of one task."""
        by_seed = defaultdict(list)
        for episode in attempts:
            if episode.ending != "broken":
                by_seed[episode.task, episode.seed].append(episode)
        for (task, seed), tried in by_seed.items():
            successes = [e for e in tried if e.success]
            if successes and len(successes) / len(tried) <= EASY and len(self._trails[task]) < self._capacity:
                best = min(successes, key=lambda e: len(e.steps))
                self._trails[task].setdefault(seed, _Trail(best, len(best.steps) - 1))

    def points(self, task: str, n: int) -> list[Point]:
        """At most `n` states to restart from, each of another start."""
        trails = list(self._trails[task].values())
        chosen = self._rng.permutation(len(trails))[:n]
        return [Point(trails[i].episode, trails[i].step) for i in chosen]

    def learn(self, point: Point, successes: int, attempts: int) -> None:
        """Move a restart halfway to the start if it is EASY now, or halfway to the end if HOPELESS.

        A success that is easy from its very start leaves the archive.
        """
        trails, seed = self._trails[point.episode.task], point.episode.seed
        rate, last = successes / attempts, len(point.episode.steps) - 1
        if rate > EASY and point.step == 0:
            del trails[seed]
        elif rate > EASY:
            trails[seed].step = point.step // 2
        elif rate < HOPELESS:
            trails[seed].step = (point.step + last + 1) // 2
