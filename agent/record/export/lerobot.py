"""LeRobotDataset v3.0, written with pyarrow: the package `lerobot` pins torch and datasets against ours.

After `lerobot.datasets` (Hugging Face, codebase_version v3.0): `data/` holds a row for each frame, with one row group
for each episode; `meta/episodes/` a row for each episode, with where it lies and its statistics; `meta/tasks.parquet`
the instructions; `meta/stats.json` and `meta/info.json` the whole. Pictures lie in the rows as the PNGs that they were
recorded as, or in videos.

A row is one decision: the picture before it, the action, and the reward after it. The picture after the last action is
left out, as LeRobot records none.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from agent.organise.episode import Episode
from agent.record.export import stats
from agent.record.export.files import ParquetFiles
from agent.record.export.layout import Layout
from agent.record.export.source import Recorded
from agent.record.export.videos import VideoFiles
from envs.errors import UserError

VERSION = "v3.0"
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA, EPISODES, VIDEO = f"data/{FILE}.parquet", f"meta/episodes/{FILE}.parquet", "videos/{video_key}/" + FILE + ".mp4"
CHUNK = 1000  # files in a folder
DATA_MB, VIDEO_MB = 100, 200  # of a file, about
EPISODES_AT_ONCE = 100  # rows about episodes in memory
CAMERA = "observation.images."
NO_VERDICT = -1.0  # where the critic was not asked: NaN would spoil the statistics
SCALARS = {
    "next.reward": "float32",
    "next.done": "bool",
    "next.success": "bool",
    "next.terminated": "bool",
    "next.truncated": "bool",
    "success": "bool",
    "certificate": "bool",
    "verdict": "float32",
    "seed": "int64",
    "answer": "string",
    "proprioception": "string",
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


class LeRobotWriter:
    """Writes episodes into a folder, one in memory at a time; `close` completes the dataset.

    video: pictures in videos (H.264, with losses) instead of lossless PNGs.
    """

    def __init__(self, folder: Path, layout: Layout, video: bool = False):
        self.folder, self.layout = folder, layout
        self.pictures = "video" if video else "image"
        self.tasks, self.episodes, self.frames = dict[str, int](), 0, 0
        self.size: tuple[int, int] | None = None  # (H, W) of the pictures [px]
        self._numbers = dict[str, list[np.ndarray]]()  # of all steps, for the statistics: about 100 bytes a step
        self._counts = {camera: np.zeros((3, 256), np.int64) for camera in layout.cameras}
        self._data = ParquetFiles(folder, DATA, DATA_MB, CHUNK)
        self._about = ParquetFiles(folder, EPISODES, DATA_MB, CHUNK)
        self._waiting: list[dict[str, Any]] = []
        self._videos = {
            camera: VideoFiles(folder, CAMERA + camera, VIDEO, layout.fps, VIDEO_MB, CHUNK)
            for camera in layout.cameras
            if video
        }

    def __enter__(self) -> "LeRobotWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._data.close()
        self._about.close()
        for videos in self._videos.values():
            videos.close()

    def add(self, recorded: Recorded) -> None:
        """Raises UserError for pictures of another size than the first, and for an action that does not fit."""
        episode = recorded.episode
        self._check_size(episode)
        columns = self._columns(recorded)
        numbers = {name: values for name, values in columns.items() if _is_number(values)}
        for name, values in numbers.items():
            self._numbers.setdefault(name, []).append(values)
        statistics, place, shown = _of_columns(numbers), {}, {}
        for i, camera in enumerate(self.layout.cameras):
            packed = [self.layout.pictures(step)[i] for step in episode.steps]
            counts = np.zeros((3, 256), np.int64)
            videos = self._videos.get(camera)
            place |= videos.begin(len(packed)) if videos else {}
            for frame in packed:
                picture = frame.unpacked()
                counts += stats.counted([picture])
                if videos:
                    videos.append(picture)
            self._counts[camera] += counts
            statistics[CAMERA + camera] = stats.of_pixels(counts, len(packed))
            if not videos:
                shown[CAMERA + camera] = [{"bytes": frame.png(), "path": None} for frame in packed]
        arrays = {name: _plain(values) for name, values in columns.items()} | shown
        place |= self._data.write(pa.table({name: arrays[name] for name in self.schema.names}, self.schema))
        self._note(recorded, place, statistics)

    def close(self) -> None:
        """Write what tells of the whole dataset."""
        self._flush()
        self._data.close()
        self._about.close()
        for videos in self._videos.values():
            videos.close()
        meta = self.folder / "meta"
        tasks = pd.DataFrame({"task_index": list(self.tasks.values())}, index=pd.Index(list(self.tasks), name="task"))
        tasks.to_parquet(meta / "tasks.parquet")
        (meta / "stats.json").write_text(json.dumps(self._statistics(), indent=4))
        (meta / "info.json").write_text(json.dumps(self.info(), indent=4))

    def info(self) -> dict[str, Any]:
        """What meta/info.json holds."""
        return {
            "codebase_version": VERSION,
            "robot_type": "simulation",
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": self.layout.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": DATA,
            "video_path": VIDEO if self._videos else None,
            "features": self.features(),
        }

    def features(self) -> dict[str, dict[str, Any]]:
        """Name of each feature -> dtype, shape, names."""
        layout, (height, width) = self.layout, self.size or (0, 0)
        picture = {"dtype": self.pictures, "shape": [height, width, 3], "names": ["height", "width", "channels"]}
        found = {CAMERA + camera: dict(picture) for camera in layout.cameras}
        for camera, videos in self._videos.items():
            found[CAMERA + camera]["info"] = videos.info(height, width)
        if layout.state:
            found["observation.state"] = _feature("float32", layout.state)
        names = [f"action_{i}" for i in range(layout.action_size)]
        found["action"] = _feature(layout.action_dtype.name, names)
        return found | {name: _feature(dtype, None) for name, dtype in SCALARS.items()}

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the data: pictures first, as `datasets` declares them, so that it decodes them."""
        from datasets import Features, Image, List, Value  # slow to import

        held = {}
        for name, feature in self.features().items():
            if feature["dtype"] == "image":
                held[name] = Image()
            elif feature["dtype"] != "video":
                value, (size,) = Value(feature["dtype"]), feature["shape"]
                held[name] = value if size == 1 else List(value, length=size)
        return Features(held).arrow_schema

    def _check_size(self, episode: Episode) -> None:
        for step in episode.steps:
            for frame in self.layout.pictures(step):
                png = frame.png()
                size = int.from_bytes(png[20:24], "big"), int.from_bytes(png[16:20], "big")
                self.size = self.size or size
                if size != self.size:
                    raise UserError(
                        f"pictures of {episode.task!r} have {size[0]} x {size[1]} px, others {self.size[0]} x "
                        f"{self.size[1]}; valid: --task with one task"
                    )

    def _columns(self, recorded: Recorded) -> dict[str, np.ndarray | list[str]]:
        """Feature -> its T values, without the pictures."""
        episode, n, layout = recorded.episode, len(recorded.episode.steps), self.layout
        last = np.arange(n) == n - 1
        truncated = episode.ending != "terminated"
        columns = {"action": np.stack([layout.action(step) for step in episode.steps])}
        if layout.state:
            columns["observation.state"] = np.stack([layout.numbers(step) for step in episode.steps])
        verdicts = [step.decision.verdict for step in episode.steps]
        columns |= {
            "next.reward": np.array([step.reward for step in episode.steps], np.float32),
            "next.done": last,
            "next.success": last & episode.success,
            "next.terminated": last & (not truncated),
            "next.truncated": last & truncated,
            "success": np.full(n, episode.success),
            "certificate": np.full(n, recorded.certified),
            "verdict": np.array([NO_VERDICT if v is None else v for v in verdicts], np.float32),
            "seed": np.full(n, episode.seed),
            "answer": [step.decision.answer for step in episode.steps],
            "proprioception": [step.observation.proprioception for step in episode.steps],
            "timestamp": (np.arange(n) / layout.fps).astype(np.float32),
            "frame_index": np.arange(n),
            "episode_index": np.full(n, self.episodes),
            "index": np.arange(self.frames, self.frames + n),
        }
        said = [step.observation.instruction for step in episode.steps]
        columns["task_index"] = np.array([self.tasks.setdefault(text, len(self.tasks)) for text in said])
        return columns

    def _note(self, recorded: Recorded, place: Mapping[str, Any], statistics: Mapping[str, stats.Stats]) -> None:
        """Keep the episode's row of meta/episodes, and count it."""
        episode, n = recorded.episode, len(recorded.episode.steps)
        row = {
            "episode_index": self.episodes,
            "tasks": list(dict.fromkeys(step.observation.instruction for step in episode.steps)),
            "length": n,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + n,
            **place,
            "seed": episode.seed,
            "attempt": episode.attempt,
            "options": json.dumps(episode.options),
            "environment": episode.task,
            "success": episode.success,
            "ending": episode.ending,
            "conclusion": None if episode.conclusion is None else float(episode.conclusion.verdict),
            "certificate": recorded.certified,
            "source": recorded.source.name,
            "branched_at": episode.branched_at,
        }
        row |= {
            f"stats/{feature}/{name}": value for feature, each in statistics.items() for name, value in each.items()
        }
        self._waiting.append(row)
        self.episodes += 1
        self.frames += n
        if len(self._waiting) == EPISODES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            place = self._about.next_place()
            rows = [row | {f"meta/episodes/{key}": value for key, value in place.items()} for row in self._waiting]
            schema = self._about.schema or _of_rows(rows)
            self._about.write(pa.Table.from_pylist(rows, schema))
            self._waiting = []

    def _statistics(self) -> dict[str, stats.Stats]:
        """Of the dataset."""
        pictures = {CAMERA + camera: stats.of_pixels(counts, self.frames) for camera, counts in self._counts.items()}
        return pictures | {
            name: stats.of_numbers(_rows(np.concatenate(values))) for name, values in self._numbers.items()
        }


def _feature(dtype: str, names: Sequence[str] | None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [len(names) if names else 1], "names": list(names) if names else None}


def _is_number(values: np.ndarray | list[str]) -> bool:
    return isinstance(values, np.ndarray)


def _rows(values: np.ndarray) -> np.ndarray:
    """(T,) or (T, d) -> (T, d)."""
    return values.reshape(len(values), -1)


def _of_columns(columns: Mapping[str, np.ndarray]) -> dict[str, stats.Stats]:
    """The statistics of each feature of an episode, computed at once: one by one they take most of the time."""
    rows = [_rows(values).astype(np.float64) for values in columns.values()]
    whole, found, at = stats.of_numbers(np.concatenate(rows, axis=1)), {}, 0
    for name, values in zip(columns, rows, strict=True):
        to = at + values.shape[1]
        found[name] = {stat: each if stat == "count" else each[at:to] for stat, each in whole.items()}
        at = to
    return found


def _plain(values: np.ndarray | list[str]) -> Iterable[Any]:
    """As a column of Parquet: rows of one number are numbers."""
    if not _is_number(values):
        return values
    return list(values) if values.ndim == 2 and values.shape[1] > 1 else values.reshape(-1)


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The schema of rows about episodes; a verdict may be missing in all of them."""
    schema = pa.Table.from_pylist(list(rows)).schema
    return schema.set(schema.get_field_index("conclusion"), pa.field("conclusion", pa.float64()))
