"""Episodes on disk: Parquet, one row per step. A batch of episodes is one file, written whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.organise.episode import Episode, Step
from envs.errors import UserError
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
DAMAGED = "the rows are not, or not all, what was stored"
DIGEST = pa.field("digest", pa.binary())  # BLAKE2b of all rows of an episode, in its last


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
        digest.update(repr([row[name] for name in SCHEMA.names]).encode())
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
    """A folder of Parquet parts. Parts are only added, each by a temporary file and a rename."""

    def __init__(self, folder: Path):
        self.folder = folder

    def append(self, episodes: Iterable[Episode]) -> None:
        """Add the episodes as one part, an empty one where there are none."""
        table = pa.Table.from_pylist([row for episode in episodes for row in _rows(episode)], schema=SCHEMA)
        rows, digests = [], []
        for row in table.to_pylist():
            rows.append(row)
            whole = row["answer"] is None
            digests.append(_digest(rows) if whole else None)
            rows = [] if whole else rows
        table = table.append_column(DIGEST, pa.array(digests, DIGEST.type))
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max((int(path.stem.removeprefix("part-")) for path in self.parts()), default=-1) + 1
        path = self.folder / f"part-{number:05d}.parquet"
        temporary = path.with_suffix(".tmp")
        pq.write_table(table, temporary)
        os.replace(temporary, path)

    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def __iter__(self) -> Iterator[Episode]:
        """Every episode; damaged ones are broken. Raises UserError for a part that cannot be read."""
        for path in self.parts():
            yield from read(path)


def read(path: Path) -> Iterator[Episode]:
    """The episodes of one part. Raises UserError for a file that cannot be read or lacks columns."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from error
    if missing := {*SCHEMA.names, DIGEST.name} - {*table.column_names}:
        raise UserError(f"{str(path)!r} has no column {', '.join(sorted(missing))}; valid: what this version stored")
    rows = []
    for row in table.to_pylist():
        rows.append(row)
        if row["digest"] is not None:
            yield _episode(rows)
            rows = []
    if rows:  # cut off
        yield _episode(rows)
