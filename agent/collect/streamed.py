"""Episodes on disk as they end: after a crash, only those are rolled out again that had not ended."""

import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from agent.collect.budget import Spent
from agent.collect.rollout import Start, keep_snapshots_that_lead_back
from agent.collect.workers import Job, task_of
from agent.organise import durable
from agent.organise.episode import Episode, Step
from agent.organise.store import EpisodeStore
from agent.record.console import say
from envs.snapshot import Snapshot

FLUSH_S = 1.0  # between two writes, so that many short episodes cost few syncs
SPENT = "spent.jsonl"

Key = tuple[int, int]  # seed and attempt


class Streamed:
    """The episodes of one rollout, in a folder: a subscriber of the rollout.

    take_spent: what was spent since its last call, which is what the episode at hand took. Costs are written before
    their episodes, and only those of episodes that are there count: nothing is counted twice.
    """

    def __init__(self, folder: Path, quarantine: Path, take_spent: Callable[[], Spent]):
        """Sets damaged files aside, with a line to the console for each: their episodes are rolled out again."""
        self._store, self._take_spent = EpisodeStore(folder), take_spent
        self._pending, self._flushed = list[tuple[Episode, Spent]](), time.monotonic()
        self._snapshots = dict[Key, list[Snapshot | None]]()
        for line in self._store.rescue(quarantine):
            say(line)
        self._spent = _read_spent(folder / SPENT)
        stored = {_key(episode): episode for episode in self._store}
        self.before = {key: stored[key] for key in stored if key in self._spent}  # a crash: these are not repeated
        if unpaid := len(stored) - len(self.before):
            say(f"{str(folder / SPENT)!r} is damaged: {unpaid} episodes whose cost it lacks are rolled out again")

    def on_episode(self, episode: Episode) -> None:
        self._pending.append((episode, self._take_spent()))
        if time.monotonic() - self._flushed >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write the episodes that have ended. Raises UserError where the disk is full or fails."""
        if self._pending:
            durable.make(self._store.folder)
            lines = [_line(_key(episode), asdict(spent)) for episode, spent in self._pending]
            durable.append(self._store.folder / SPENT, "\n".join(["", *lines, ""]).encode())  # also after a torn line
            self._store.append((episode for episode, _ in self._pending), by_reference=True)
            self._spent |= {_key(episode): spent for episode, spent in self._pending}
            self._snapshots |= {_key(e): [step.snapshot for step in e.steps] for e, _ in self._pending}
            self._pending.clear()
        self._flushed = time.monotonic()

    def episodes(self, job: Job) -> tuple[list[Episode], Spent]:
        """The job's episodes, in the order of its starts, and what they took.

        All are read back, whether or not a crash came between: what a stage goes on with is the same. What is not
        stored is added: the moment that an episode begins at, and snapshots where the job wants them.
        """
        self.flush()
        read, starts, spent = self._store.by_key(), [Start(*start) for start in job.starts], Spent()
        of_key = {(seed, attempt): episode for (_, seed, attempt), episode in read.items()}
        found = [replace(of_key[start[:2]], begins_at=start.moment) for start in starts]
        for episode in found:
            spent += self._spent[_key(episode)]
        if not job.snapshots:
            return found, spent
        missing = [episode for episode in found if _key(episode) not in self._snapshots]
        self._snapshots |= {_key(e): taken for e, taken in zip(missing, _retaken(job, missing), strict=True)}
        return [replace(e, steps=_with(e.steps, self._snapshots[_key(e)])) for e in found], spent


def _line(key: Sequence[int], took: Mapping[str, int]) -> str:
    """What an episode took, with a CRC-32 of that."""
    return json.dumps([key, took, zlib.crc32(json.dumps([key, took]).encode())])


def _read_spent(path: Path) -> dict[Key, Spent]:
    """What each episode took; of several times the last. A line that is not whole is none: empty, torn by a crash
    before its episode was written, or damaged."""
    spent = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            key, took, _ = json.loads(line)
            if _line(key, took).encode() == line:
                spent[tuple(key)] = Spent(**took)
        except (ValueError, TypeError):
            continue
    return spent


def _key(episode: Episode) -> Key:
    return episode.seed, episode.attempt


def _with(steps: Sequence[Step], snapshots: Sequence[Snapshot | None]) -> list[Step]:
    return [replace(step, snapshot=snapshot) for step, snapshot in zip(steps, snapshots, strict=True)]


def _retaken(job: Job, episodes: Iterable[Episode]) -> list[list[Snapshot | None]]:
    """The snapshots of episodes that were rolled out before a crash: their actions are taken again."""
    if not (episodes := list(episodes)):
        return []
    task, taken = task_of(job), []
    env = task.make()
    try:
        for episode in episodes:
            if episode.begins_at:
                env.restore(episode.begins_at.snapshot)
            else:
                env.reset(seed=episode.seed, options=episode.options or None)
            snapshots, redrawn = [], dict(episode.redrawn or ())
            for i, step in enumerate(episode.steps):
                task.observe(env)  # a frame history keeps what was observed
                snapshots.append(env.snapshot())
                if i in redrawn:
                    env.redraw(redrawn[i])
                env.step(step.decision.action)
            again = replace(episode, steps=_with(episode.steps, snapshots))
            keep_snapshots_that_lead_back(task, again)
            taken.append([step.snapshot for step in again.steps])
    finally:
        env.close()
    return taken
