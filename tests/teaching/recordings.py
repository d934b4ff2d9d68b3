"""Small recordings of Catch in other programs' formats, written without those programs."""

import json

import cv2
import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FPS = 15  # of Catch
KEY = "observation.images.front"


def played(seed):
    """An episode of Catch that succeeds: T actions, and the picture before each, (T, 96, 96, 3) uint8."""
    env = gym.make("tests.games:Catch-v0", render_mode="rgb_array")
    env.reset(seed=seed)
    actions, pictures, ended = [], [], False
    while not ended:
        inner = env.unwrapped
        pictures.append(env.render())
        actions.append(1 + int(np.sign(inner.ball - inner.paddle)) * (abs(inner.ball - inner.paddle) > 0.03))
        *_, ended, _, _ = env.step(actions[-1])
    return actions, np.stack(pictures)


def lerobot(folder, seeds, dtype="image", told=(), task="catch the ball"):
    """A LeRobotDataset v3.0 of one episode for each seed. dtype: of its pictures; empty for none. told: a seed that is
    recorded for each episode; empty for none."""
    rows, about, whole = [], [], []
    for number, seed in enumerate(seeds):
        actions, pictures = played(seed)
        for i, (action, picture) in enumerate(zip(actions, pictures, strict=True)):
            row = {"action": [float(action)], "timestamp": i / FPS, "frame_index": i, "episode_index": number}
            if dtype == "image":
                row[KEY] = {"bytes": cv2.imencode(".png", picture[..., ::-1])[1].tobytes(), "path": None}
            rows.append(row | {"task_index": 0})
        entry = {"episode_index": number, "length": len(actions), "data/chunk_index": 0, "data/file_index": 0}
        if dtype == "video":
            video = {"chunk_index": 0, "file_index": 0, "from_timestamp": len(whole) / FPS}
            entry |= {f"videos/{KEY}/{key}": value for key, value in video.items()}
        about.append(entry | ({"seed": told[number]} if told else {}))
        whole += list(pictures)
    features = {"action": {"dtype": "float32", "shape": [1]}}
    if dtype:
        features[KEY] = {"dtype": dtype, "shape": [96, 96, 3]}
    info = {"codebase_version": "v3.0", "fps": FPS, "features": features}
    for name, table in (("data", rows), ("meta/episodes", about)):
        (folder / name / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(table), folder / name / "chunk-000" / "file-000.parquet")
    pq.write_table(pa.table({"task_index": [0], "__index_level_0__": [task]}), folder / "meta" / "tasks.parquet")
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    if dtype == "video":
        path = folder / "videos" / KEY / "chunk-000" / "file-000.mp4"
        path.parent.mkdir(parents=True)
        iio.imwrite(path, np.stack(whole), fps=FPS, codec="libx264", plugin="FFMPEG", macro_block_size=1)
    return folder
