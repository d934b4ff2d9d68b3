"""A reverse curriculum: practice restarts from states of archived successes.

The restart states move from the end of a success towards its reset as the policy gets better: from a state near the
goal, a poor policy succeeds at times too. Florensa et al. (2017), "Reverse Curriculum Generation for Reinforcement
Learning"; Salimans and Chen (2018), "Learning Montezuma's Revenge from a Single Demonstration".
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from agent.collect.branching import Point
from agent.organise import durable
from agent.organise.episode import Episode
from agent.organise.store import EpisodeStore

STEPS = "steps.json"
HOPELESS, EASY = 0.1, 0.9  # success rates: between them a restart state stays where it is


@dataclass
class _Trail:
    """An archived success. Practice restarts from the state before its step `step`."""

    episode: Episode
    step: int


class Archive:
    """At most `capacity` successes of each task, one of each start that succeeds in at most EASY of its attempts.

    rng: draws the states to restart from.
    """

    def __init__(self, capacity: int, rng: np.random.Generator):
        self._capacity, self._rng = capacity, rng
        self._trails: dict[str, dict[int, _Trail]] = defaultdict(dict)  # task -> seed -> trail

    @classmethod
    def load(cls, folder: Path, capacity: int, rng: np.random.Generator) -> Self:
        """The archive that `save` wrote into the folder; an empty one where there is no folder."""
        archive = cls(capacity, rng)
        if folder.exists():
            steps = json.loads((folder / STEPS).read_text())
            for episode, step in zip(EpisodeStore(folder), steps, strict=True):
                archive._trails[episode.task][episode.seed] = _Trail(episode, step)
        return archive

    def save(self, folder: Path) -> None:
        """Write the episodes and their restart steps into a folder that does not exist yet."""
        trails = [trail for of_task in self._trails.values() for trail in of_task.values()]
        EpisodeStore(folder).append(trail.episode for trail in trails)
        durable.write(folder / STEPS, json.dumps([trail.step for trail in trails]))

    def add(self, attempts: Sequence[Episode]) -> None:
        """Add the shortest success of each start that is not EASY. attempts: from reset, all attempts of each start."""
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
        """At most `n` states to restart from, drawn without replacement, one of each archived start."""
        trails = list(self._trails[task].values())
        chosen = self._rng.permutation(len(trails))[:n]
        return [Point(trails[i].episode, trails[i].step) for i in chosen]

    def learn(self, point: Point, successes: int, attempts: int) -> None:
        """Move a restart state halfway to the reset if its attempts are above EASY, halfway to the end if HOPELESS.

        A success whose attempts are EASY from the reset leaves the archive.
        """
        trails, seed = self._trails[point.episode.task], point.episode.seed
        rate, last = successes / attempts, len(point.episode.steps) - 1
        if rate > EASY and point.step == 0:
            del trails[seed]
        elif rate > EASY:
            trails[seed].step = point.step // 2
        elif rate < HOPELESS:
            trails[seed].step = (point.step + last + 1) // 2
