"""A Minari dataset (Farama), written by the package `minari` as Parquet, without JPEG: its default loses what it saves.

Episodes have T actions and T + 1 observations, which are the pictures: an array for one camera, a dictionary for
several. `infos` holds what has no place of its own, at the index of the observation that it belongs to.
"""

import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agent.record.export.layout import Layout
from agent.record.export.lerobot import NO_VERDICT
from agent.record.export.source import Recorded
from envs.errors import UserError, first_line

NAME = re.compile(r"[-_\w]+-v\d+")  # of a dataset without a namespace
AT_ONCE, PIXELS_MB = 20, 100  # episodes in memory, and [MB] of their unpacked pictures, at most but for the last one
ROOT = "MINARI_DATASETS_PATH"  # the environment variable with the folder of all datasets


def check_name(out: Path) -> None:
    """Raises UserError for a folder whose name is none of a Minari dataset, and without the package."""
    if not NAME.fullmatch(out.name):
        plain = re.sub(r"[^-\w]+", "-", out.name).strip("-") or "dataset"
        raise UserError(
            f"{out.name!r} is no name of a Minari dataset; valid: letters, digits and -v with a number, "
            f"such as {plain}-v0"
        )
    try:
        import minari  # noqa: F401 (an extra)
        from minari.dataset._storages.arrow_storage import ParquetStorage  # noqa: F401
    except ImportError as error:
        valid = "valid once it is installed: pip install 'handeye[minari]'"
        raise UserError(f"--format minari needs {error.name or first_line(error)}; {valid}") from error


class MinariWriter:
    """Writes episodes of one environment into a folder, some in memory; `close` completes the dataset.

    name: of the dataset.
    """

    def __init__(self, folder: Path, layout: Layout, name: str, description: str):
        self.folder, self.layout, self.name, self.description = folder, layout, name, description
        self.episodes = self.frames = 0
        self._dataset: Any = None
        self._buffers: list[Any] = []
        self._metadata: list[dict[str, Any]] = []
        self._pixels = 0  # [bytes] in the buffers

    def __enter__(self) -> "MinariWriter":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add(self, recorded: Recorded) -> None:
        from minari.data_collector.episode_buffer import EpisodeBuffer

        episode, n = recorded.episode, len(recorded.episode.steps)
        observations = self._observations(recorded)
        pixels = sum(
            each.nbytes for each in (observations.values() if isinstance(observations, dict) else [observations])
        )
        if self._buffers and self._pixels + pixels > PIXELS_MB * 10**6:
            self._flush()
        self._pixels += pixels
        last = [i == n - 1 for i in range(n)]
        truncated = episode.ending != "terminated"
        self._buffers.append(
            EpisodeBuffer(
                id=self.episodes,
                seed=episode.seed,
                options=episode.options,
                observations=observations,
                actions=_columns(self.layout.space, [step.decision.action for step in episode.steps]),
                rewards=[step.reward for step in episode.steps],
                terminations=[each and not truncated for each in last],
                truncations=[each and truncated for each in last],
                infos=_infos(recorded),
            )
        )
        self._metadata.append(
            {
                "success": episode.success,
                "ending": episode.ending,
                "certificate": recorded.certified,
                "attempt": episode.attempt,
                "source": recorded.source.name,
                "environment": episode.task,
            }
        )
        self.episodes += 1
        self.frames += n
        if len(self._buffers) == AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Complete the dataset, and read back how much it holds. Raises UserError where that is not what was
        written."""
        self._flush()
        from minari import MinariDataset

        totals = {"total_episodes": self.episodes, "total_steps": self.frames}
        storage = self._dataset.storage
        storage.update_metadata(totals | {"dataset_size": storage.get_size()})
        shutil.move(self.folder / self.name / "data", self.folder / "data")
        shutil.rmtree(self.folder / self.name)
        dataset = MinariDataset(self.folder / "data")
        held = dataset.total_episodes, dataset.total_steps
        if held != (self.episodes, self.frames):
            raise UserError(
                f"{self.name!r} holds {held} episodes and steps of {(self.episodes, self.frames)}; valid: "
                "another version of minari"
            )

    def _observations(self, recorded: Recorded) -> Any:
        episode, layout = recorded.episode, self.layout
        shown = [[frame.unpacked() for frame in layout.pictures(step)] for step in episode.steps]
        final = [*shown[-1][:-1], episode.final_frame]  # of the last moment an episode holds the last camera's picture
        by_camera = [np.stack(each) for each in zip(*shown, final, strict=True)]
        if len(by_camera) == 1:
            return by_camera[0]
        return dict(zip(layout.cameras, by_camera, strict=True))

    def _flush(self) -> None:
        if not self._buffers:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is not said of the author
            if self._dataset is None:
                self._dataset = self._created()
            else:
                with _at_once(self._dataset.storage):
                    self._dataset.update_dataset_from_buffer(self._buffers)
        with _at_once(self._dataset.storage):
            numbers = range(self.episodes - len(self._buffers), self.episodes)
            self._dataset.storage.update_episode_metadata(self._metadata, numbers)
        self._buffers, self._metadata, self._pixels = [], [], 0

    def _created(self) -> Any:
        import minari

        first = self._buffers[0].observations
        spaces = {name: _space(each) for name, each in first.items()} if isinstance(first, dict) else _space(first)
        before = os.environ.get(ROOT)
        os.environ[ROOT] = str(self.folder.resolve())
        try:
            dataset = minari.create_dataset_from_buffers(
                self.name,
                self._buffers,
                action_space=self.layout.space,
                observation_space=gym.spaces.Dict(spaces) if isinstance(spaces, dict) else spaces,
                description=self.description,
                author="HandEye",
                data_format="parquet",
                jpeg_encoding=False,
            )
        finally:
            os.environ.pop(ROOT) if before is None else os.environ.update({ROOT: before})
        dataset.storage.update_metadata(_specified(self.layout))
        return dataset


@contextmanager
def _at_once(storage: Any) -> Iterator[None]:
    """In the block, Minari does not rewrite the dataset's metadata after each episode; `close` writes it once.

    It holds the bounds of every pixel (8 MB of JSON for 512 px), and the size of all files, which are looked at.
    """
    storage.update_metadata, storage.get_size = lambda metadata: None, lambda: 0.0
    try:
        yield
    finally:
        del storage.update_metadata, storage.get_size


def _specified(layout: Layout) -> dict[str, Any]:
    """fps and repeat, and the environment as Minari makes it again, where that can be told in JSON."""
    known = {"fps": layout.fps, "repeat": layout.repeat}
    try:
        return known | ({"env_spec": layout.spec.to_json()} if layout.spec else {})
    except (TypeError, ValueError):  # an argument or an entry point that is an object: Minari leaves it out, too
        return known


def _space(pictures: np.ndarray) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, pictures.shape[1:], np.uint8)


def _infos(recorded: Recorded) -> dict[str, Any]:
    """T + 1 of each: what was seen and said at an observation; success after the last action."""
    episode = recorded.episode
    steps, decisions = episode.steps, [step.decision for step in episode.steps]
    return {
        "success": [False] * len(steps) + [episode.success],  # a list: Minari cannot read back an array of numbers
        "instruction": [step.observation.instruction for step in steps] + [steps[-1].observation.instruction],
        "proprioception": [step.observation.proprioception for step in steps] + [episode.final_proprioception],
        "answer": [decision.answer for decision in decisions] + [""],
        "verdict": [NO_VERDICT if d.verdict is None else float(d.verdict) for d in decisions] + [NO_VERDICT],
    }


def _columns(space: gym.Space, actions: Sequence[Any]) -> Any:
    """T actions -> arrays of T parts, nested as the action space is."""
    if isinstance(space, gym.spaces.Dict):
        return {name: _columns(part, [action[name] for action in actions]) for name, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_columns(part, [action[i] for action in actions]) for i, part in enumerate(space.spaces))
    if space.dtype is None or not np.issubdtype(space.dtype, np.number):
        return list(map(str, actions))
    return np.stack([np.asarray(action, space.dtype) for action in actions])
