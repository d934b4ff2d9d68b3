"""Episodes on disk: Parquet, one row per step. Parts of bounded size, each written whole or not at all."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from agent.organise import durable, part
from agent.organise.episode import Episode, Step
from agent.organise.part import DamagedError
from envs.observation import PackedObservation, decode_png, encode_png
from policies.base import Action, Decision
from policies.critic import Critique

SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "seed": pa.int64(),
        "attempt": pa.int32(),
        "options": pa.string(),  # JSON
        "branched_at": pa.int32(),
        "step": pa.int32(),  # an episode's last row has no decision: its final frame, proprioception, state
        "instruction": pa.string(),
        "proprioception": pa.string(),
        "frames": pa.list_(pa.binary()),  # PNG
        "key": pa.binary(),  # of the observation, `Observation.key`
        "answer": pa.string(),
        "action": pa.string(),  # JSON: a list of numbers, a number, or text
        "verdict": pa.float32(),
        "proposals": pa.string(),  # JSON
        "critique": pa.string(),
        "reward": pa.float64(),
        "fingerprint": pa.binary(),  # of the state that was observed
        "success": pa.bool_(),
        "ending": pa.string(),
        "conclusion": pa.float64(),  # the critic's verdict on the ending; next, its reason
        "conclusion_reason": pa.string(),
        "error": pa.string(),
        "versions": pa.string(),  # JSON
    }
)
PART_BYTES = 32_000_000  # of the frames in one part, where it has more than one episode
PART_ROWS = 50_000  # in one part, where it has more than one episode
DAMAGED = "the rows are not, or not all, what was stored"
DIGEST = pa.field("digest", pa.binary())  # BLAKE2b of all rows of an episode, in its last
STORED = SCHEMA.append(DIGEST)


def _rows(episode: Episode) -> Iterator[dict]:
    whole = {
        "task": episode.task,
        "seed": episode.seed,
        "attempt": episode.attempt,
        "options": json.dumps(episode.options),
        "branched_at": episode.branched_at,
        "success": episode.success,
        "ending": episode.ending,
        "error": episode.error,
        "conclusion": episode.conclusion and episode.conclusion.verdict,
        "conclusion_reason": episode.conclusion and episode.conclusion.reason,
    }
    for i, step in enumerate(episode.steps):
        yield whole | {
            "step": i,
            "instruction": step.observation.instruction,
            "proprioception": step.observation.proprioception,
            "frames": list(step.observation.pngs()),
            "key": step.observation.key(),
            "answer": step.decision.answer,
            "action": json.dumps(step.decision.action.tolist()),
            "verdict": step.decision.verdict,
            "proposals": json.dumps(step.decision.proposals),
            "critique": step.decision.critique or None,
            "reward": step.reward,
            "fingerprint": step.fingerprint,
        }
    yield whole | {
        "step": len(episode.steps),
        "proprioception": episode.final_proprioception,
        "frames": [] if episode.final_frame is None else [encode_png(episode.final_frame)],
        "fingerprint": episode.final_fingerprint,
        "versions": json.dumps(episode.versions),
    }


def _action(stored: str) -> Action:
    """(d,) float32 of a continuous action, int64 of a discrete one, or text of a free answer."""
    value = json.loads(stored)
    return {list: np.float32, int: np.int64, str: np.str_}[type(value)](value)


def _digest(rows: Iterable[dict]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(repr([row[name] for name in SCHEMA.names if name != "frames"]).encode())
        for png in row["frames"]:
            digest.update(len(png).to_bytes(8, "little") + png)
    return digest.digest()


def _episode(rows: list[dict]) -> Episode:
    """The episode of the rows; broken where the digest of the rows is not the stored one."""
    *steps, last = rows
    episode = Episode(*(rows[0][name] for name in ("task", "seed", "attempt")))
    if last["digest"] != _digest(rows):
        episode.ending, episode.error = "broken", DAMAGED
        return episode
    episode.success, episode.ending, episode.error = last["success"], last["ending"], last["error"]
    if last["conclusion"] is not None:
        episode.conclusion = Critique(last["conclusion"], last["conclusion_reason"])
    episode.options, episode.branched_at = json.loads(last["options"]), last["branched_at"]
    episode.versions = json.loads(last["versions"])
    for row in steps:
        observation = PackedObservation.of(row["frames"], row["instruction"], row["proprioception"])
        proposals = tuple((answer, verdict) for answer, verdict in json.loads(row["proposals"]))
        decision = Decision(row["answer"], _action(row["action"]), row["verdict"], proposals, row["critique"] or "")
        episode.steps.append(Step(observation, decision, row["reward"], row["fingerprint"]))
    episode.final_frame = decode_png(last["frames"][0]) if last["frames"] else None
    episode.final_proprioception, episode.final_fingerprint = last["proprioception"], last["fingerprint"]
    return episode


class EpisodeStore:
    """A folder of Parquet parts. Parts are only added, each whole or not at all, and synced."""

    def __init__(self, folder: Path):
        self.folder = folder

    def append(self, episodes: Iterable[Episode]) -> None:
        """Add the episodes as one part, or several where they are many; as an empty one where there are none.

        A part ends between two episodes, before PART_BYTES of frames or PART_ROWS rows: the same episodes in the same
        order give the same bytes, and no more than a part of them is in memory. Raises UserError where the disk is full
        or fails; the parts before the failed one stay.
        """
        durable.make(self.folder)
        number = max(map(_number, self.parts()), default=-1) + 1
        for i, rows in enumerate(_batches(episodes)):
            part.write(self.folder / f"part-{number + i:05d}.parquet", _table(rows))

    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"), key=lambda path: (_number(path), path.name))

    def __iter__(self) -> Iterator[Episode]:
        """Every episode; one whose rows are not all there is broken. Raises DamagedError for a damaged part."""
        for path in self.parts():
            yield from read(path)

    def undamaged(self, report: Callable[[str], object]) -> Iterator[Episode]:
        """The episodes of the parts that are whole. report: called with one line for each part that is not."""
        for path in self.parts():
            try:
                episodes = read(path)
            except DamagedError as error:
                report(str(error))
                continue
            yield from episodes

    def by_key(self) -> dict[tuple[str, int, int], Episode]:
        """(task, seed, attempt) -> the episode. Of several the last: one that broke with its worker is played again.

        Raises DamagedError for a damaged part.
        """
        return {(e.task, e.seed, e.attempt): e for e in self}

    def rescue(self, quarantine: Path) -> list[str]:
        """Move damaged parts into the folder `quarantine`; returns one line for each. The store can then be read.

        Raises UserError where the disk is full or fails.
        """
        lines = []
        for path in self.parts():
            try:
                part.decode(part.check(path), path, STORED)
            except DamagedError as error:
                lines.append(f"{error}; set aside as {str(_set_aside(path, quarantine))!r}")
        return lines


def read(path: Path) -> Iterator[Episode]:
    """The episodes of one part. Raises DamagedError, at once, for a part that is not as it was written."""
    return _episodes(part.decode(part.check(path), path, STORED))


def _episodes(table: pa.Table) -> Iterator[Episode]:
    rows = []
    for row in table.to_pylist():
        rows.append(row)
        if row["digest"] is not None:
            yield _episode(rows)
            rows = []
    if rows:  # cut off
        yield _episode(rows)


def _batches(episodes: Iterable[Episode]) -> Iterator[list[dict]]:
    """The rows of each part."""
    batch, size = [], 0
    for episode in episodes:
        rows = list(_rows(episode))
        more = sum(len(png) for row in rows for png in row["frames"])
        if batch and (size + more > PART_BYTES or len(batch) + len(rows) > PART_ROWS):
            yield batch
            batch, size = [], 0
        batch.extend(rows)
        size += more
    yield batch


def _table(rows: list[dict]) -> pa.Table:
    """The rows as a table, with the digest of each episode in its last row."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    digests, some = [], []
    for stored, row in zip(table.drop_columns("frames").to_pylist(), rows, strict=True):
        some.append(stored | {"frames": row["frames"]})
        whole = stored["answer"] is None
        digests.append(_digest(some) if whole else None)
        some = [] if whole else some
    return table.append_column(DIGEST, pa.array(digests, DIGEST.type))


def _number(path: Path) -> int:
    """Of a part, by its name; -1 for a file that has none."""
    found = re.fullmatch(r"part-(\d+)\.parquet", path.name)
    return int(found[1]) if found else -1


def _set_aside(path: Path, quarantine: Path) -> Path:
    """Move a file or folder into `quarantine`, under a name that is free; returns its new path."""
    durable.make(quarantine)
    name, number = f"{path.parent.name}-{path.name}", 0
    while (place := quarantine / (f"{name}.{number}" if number else name)).exists():
        number += 1
    with durable.told(path):
        os.rename(path, place)
        durable.sync(quarantine)
        durable.sync(path.parent)
    return place
