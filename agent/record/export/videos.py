"""The pictures of a camera in video files, an episode after the other, encoded as they come (H.264 by ffmpeg)."""

from pathlib import Path
from typing import Any

import imageio.v2 as iio
import numpy as np

CRF = 18  # constant rate factor of x264: 0 is without a loss in YUV, 23 the usual
KEYFRAMES = 2  # every second frame can be seeked, as in LeRobot's own videos


class VideoFiles:
    """key: of the feature. path: its template, with chunk_index and file_index. most_mb: of a file, about."""

    def __init__(self, folder: Path, key: str, path: str, fps: float, most_mb: float, chunk: int):
        self._folder, self._key, self._template, self._fps = folder, key, path, fps
        self._most, self._chunk = most_mb * 2**20, chunk
        self._number, self._writer, self._path, self._frames = -1, None, None, 0
        self._format = "yuv420p"

    def begin(self, n_frames: int) -> dict[str, Any]:
        """Where the next episode's frames lie, as the keys of meta/episodes. A file ends between two episodes."""
        if self._writer is None or self._size() >= self._most:
            self.close()
            self._number += 1
            self._frames = 0
        place = {"chunk_index": self._number // self._chunk, "file_index": self._number % self._chunk}
        if self._frames == 0:
            self._path = self._folder / self._template.format(video_key=self._key, **place)
            self._path.parent.mkdir(parents=True, exist_ok=True)
        since = self._frames / self._fps
        self._frames += n_frames
        times = {"from_timestamp": since, "to_timestamp": self._frames / self._fps}
        return {f"videos/{self._key}/{name}": value for name, value in (place | times).items()}

    def _size(self) -> int:
        """[bytes] of the file so far; ffmpeg makes it with its first frames."""
        return self._path.stat().st_size if self._path.exists() else 0

    def append(self, picture: np.ndarray) -> None:
        """picture: (H, W, 3) uint8."""
        if self._writer is None:
            if any(side % 2 for side in picture.shape[:2]):
                self._format = "yuv444p"  # 4:2:0 halves both sides
            self._writer = iio.get_writer(
                self._path,
                format="FFMPEG",
                mode="I",
                fps=self._fps,
                codec="libx264",
                pixelformat=self._format,
                macro_block_size=1,
                ffmpeg_params=["-crf", str(CRF), "-g", str(KEYFRAMES), "-bf", "0"],
            )
        self._writer.append_data(picture)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def info(self, height: int, width: int) -> dict[str, Any]:
        """What meta/info.json says of the video."""
        return {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": self._format,
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }
