"""Episodes on disk: Parquet, one row a step, each batch of episodes a file that appears whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.episode import Episode, Step
from envs.observation import Observation
from policies.base import Decision

SCHEMA = pa.schema(
    {
        "task": pa.string(),
        "seed": pa.int64(),
        "attempt": pa.int32(),
        "step": pa.int32(),  # the last row of an episode holds only what was seen at its end
        "instruction": pa.string(),
        "proprioception": pa.string(),
        "frames": pa.list_(pa.binary()),  # PNG
        "answer": pa.string(),
        "action": pa.list_(pa.float32()),
        "verdict": pa.float32(),
        "reward": pa.float64(),
        "success": pa.bool_(),
        "ending": pa.string(),
        "error": pa.string(),
    }
)


def encode_png(frame: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> PNG."""
    return cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()


def decode_png(data: bytes) -> np.ndarray:
    """PNG -> (H, W, 3) uint8."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _rows(episode: Episode) -> Iterator[dict]:
    whole = {
        "task": episode.task,
        "seed": episode.seed,
        "attempt": episode.attempt,
        "success": episode.success,
        "ending": episode.ending,
        "error": episode.error,
    }
    for i, step in enumerate(episode.steps):
        yield whole | {
            "step": i,
            "instruction": step.observation.instruction,
            "proprioception": step.observation.proprioception,
            "frames": [encode_png(frame) for frame in step.observation.frames],
            "answer": step.decision.answer,
            "action": step.decision.action.tolist(),
            "verdict": step.decision.verdict,
            "reward": step.reward,
        }
    frames = [] if episode.final_frame is None else [encode_png(episode.final_frame)]
    yield whole | {"step": len(episode.steps), "frames": frames, "proprioception": episode.final_proprioception}


class EpisodeStore:
    """A folder of Parquet parts. Only adds: a part is written beside its place and renamed into it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def append(self, episodes: Iterable[Episode]) -> None:
        table = pa.Table.from_pylist([row for episode in episodes for row in _rows(episode)], schema=SCHEMA)
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max((int(path.stem.removeprefix("part-")) for path in self._parts()), default=-1) + 1
        path = self.folder / f"part-{number:05d}.parquet"
        temporary = path.with_suffix(".tmp")
        pq.write_table(table, temporary)
        os.replace(temporary, path)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def __iter__(self) -> Iterator[Episode]:
        for path in self._parts():
            episode = None
            for row in pq.read_table(path).to_pylist():
                if episode is None:
                    fields = ("task", "seed", "attempt", "success", "ending", "error")
                    episode = Episode(**{name: row[name] for name in fields})
                frames = [decode_png(data) for data in row["frames"]]
                if row["answer"] is None:
                    episode.final_frame = frames[0] if frames else None
                    episode.final_proprioception = row["proprioception"]
                    yield episode
                    episode = None
                else:
                    observation = Observation(np.stack(frames), row["instruction"], row["proprioception"])
                    decision = Decision(row["answer"], np.array(row["action"], np.float32), row["verdict"])
                    episode.steps.append(Step(observation, decision, row["reward"]))
