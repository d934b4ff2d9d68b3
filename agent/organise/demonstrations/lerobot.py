"""LeRobotDataset v3.0: Parquet with actions, Parquet about episodes, and pictures in Parquet or in videos.

Of a dataset are read `action`, `task_index`, `timestamp`, the pictures, a column `seed`, of the data or of the
episodes, and a column `options` of the episodes (JSON), where there are any: LeRobot itself records neither, and
`handeye export` both. The format is that of `lerobot.datasets` (codebase_version
v3.0), whose files hold many episodes each.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.organise.demonstrations.demonstration import Demonstration
from envs.errors import UserError, first_line

VERSION = "v3"
PICTURES = ("image", "video")  # dtypes of features
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
BROKEN = (OSError, ValueError, LookupError, TypeError, pa.ArrowException)


def read(folder: Path) -> Iterator[Demonstration]:
    """The episodes in their order. Raises UserError for what is no dataset of this version, and for a missing or broken
    file."""
    try:
        yield from _Dataset(folder).episodes()
    except BROKEN as error:
        raise UserError(f"'lerobot:{folder}' cannot be read: {type(error).__name__}: {first_line(error)}") from error


class _Dataset:
    def __init__(self, folder: Path):
        self.folder = folder
        self.info = json.loads((folder / "meta" / "info.json").read_bytes())
        version = str(self.info.get("codebase_version"))
        if not version.startswith(VERSION):
            raise UserError(f"'lerobot:{folder}' has version {version}; valid: v3.0, which lerobot converts others to")
        self.features: Mapping[str, Any] = self.info["features"]
        if "action" not in self.features:
            raise UserError(f"'lerobot:{folder}' has no action; its features: {', '.join(self.features)}")
        self.cameras = [name for name, feature in self.features.items() if feature["dtype"] in PICTURES]
        self._table = lru_cache(maxsize=1)(self._read_table)
        self._open: dict[Path, _Video] = {}

    def episodes(self) -> Iterator[Demonstration]:
        instructions = self._instructions()
        for path in sorted((self.folder / "meta" / "episodes").rglob("*.parquet")):
            columns = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
            for about in pq.read_table(path, columns=columns).to_pylist():
                yield self._episode(about, instructions)

    def _episode(self, about: Mapping[str, Any], instructions: Mapping[int, str]) -> Demonstration:
        number = about["episode_index"]
        place = {"chunk_index": about["data/chunk_index"], "file_index": about["data/file_index"]}
        data = self._table(self.folder / self.info.get("data_path", DATA).format(**place))
        rows = data.filter(pa.compute.equal(data["episode_index"], number))
        if rows.num_rows != about["length"]:
            raise ValueError(f"episode {number} has {rows.num_rows} rows of {about['length']}")
        seed = about.get("seed", rows["seed"][0].as_py() if "seed" in rows.column_names else None)
        seed = seed[0] if isinstance(seed, list) else seed
        said = instructions.get(rows["task_index"][0].as_py(), "") if "task_index" in rows.column_names else ""
        return Demonstration(
            f"episode {number} of 'lerobot:{self.folder}'",
            [np.asarray(action) for action in rows["action"].to_pylist()],
            None if seed is None else int(seed),
            json.loads(about.get("options") or "{}"),
            instruction=said,
            pictures=(lambda: self._pictures(rows, about)) if self.cameras else None,
            fps=float(self.info["fps"]),
        )

    def _instructions(self) -> dict[int, str]:
        """Task index -> its text, which is the index of a pandas frame."""
        table = pq.read_table(self.folder / "meta" / "tasks.parquet")
        texts = next(name for name in table.column_names if name != "task_index")
        return dict(zip(table["task_index"].to_pylist(), table[texts].to_pylist(), strict=True))

    def _read_table(self, path: Path) -> pa.Table:
        return pq.read_table(path)

    def _pictures(self, rows: pa.Table, about: Mapping[str, Any]) -> np.ndarray:
        """(T, cameras, H, W, 3) uint8. Raises UserError for a picture that cannot be read."""
        try:
            return np.stack([self._seen_by(camera, rows, about) for camera in self.cameras], axis=1)
        except BROKEN as error:
            where = f"pictures of episode {about['episode_index']} of 'lerobot:{self.folder}'"
            raise UserError(f"{where} cannot be read: {type(error).__name__}: {first_line(error)}") from error

    def _seen_by(self, camera: str, rows: pa.Table, about: Mapping[str, Any]) -> np.ndarray:
        if self.features[camera]["dtype"] == "image":
            return np.stack([self._image(held) for held in rows[camera].to_pylist()])
        place = {key: about[f"videos/{camera}/{key}"] for key in ("chunk_index", "file_index")}
        path = self.folder / self.info.get("video_path", VIDEO).format(video_key=camera, **place)
        video = self._open.setdefault(path, _Video(path))
        since = np.array(rows["timestamp"].to_pylist(), float) + about[f"videos/{camera}/from_timestamp"]
        first = int(np.rint(since[0] * self.info["fps"]))
        return video.frames(first, rows.num_rows)

    def _image(self, held: Mapping[str, Any]) -> np.ndarray:
        """{"bytes", "path"}, as `datasets` stores a picture -> (H, W, 3) uint8."""
        data = held["bytes"] or (self.folder / held["path"]).read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError("a picture is no PNG or JPEG")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


class _Video:
    """A video that is read once, forwards, as its episodes follow each other; read anew where one lies before."""

    def __init__(self, path: Path):
        self._path, self._at, self._left = path, 0, iter(())
        self._begun = False

    def frames(self, first: int, n: int) -> np.ndarray:
        """(n, H, W, 3) uint8, from the `first`-th on. Raises ValueError where there are fewer."""
        if not self._begun or first < self._at:
            self._left, self._at, self._begun = iio.imiter(self._path, plugin="FFMPEG"), 0, True
        found = []
        while self._at < first + n:
            frame = next(self._left, None)
            if frame is None:
                raise ValueError(f"{self._path.name} ends after {self._at} of {first + n} frames")
            if self._at >= first:
                found.append(frame)
            self._at += 1
        return np.stack(found)
