"""Episodes as LeRobot's or Minari's dataset: who writes it, and what its card says."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.record.export import minari
from agent.record.export.card import Card, episodes_made, of_episodes
from agent.record.export.layout import Layout, layout_of
from agent.record.export.lerobot import CAMERA, LeRobotWriter
from agent.record.export.source import Recorded, Recording
from envs.errors import UserError

COLUMNS = """| column | what |
|---|---|
| {pictures} | what the policy saw before the action, {kind} |
{state}| `action` | {action} |
| `next.reward` | the environment's, summed over the action repeat |
| `next.done`, `next.terminated`, `next.truncated`, `next.success` | true in an episode's last row alone |
| `success`, `seed`, `certificate` | of the episode: the seed is its reset's; whether it has a replay certificate |
| `answer` | what the policy said: its thought and its action, in words |
| `verdict` | the critic's probability that the answer works; -1 where it was not asked |
| `proprioception` | the robot's own readings, in words |"""
EPISODES = (
    "`meta/episodes` has for each episode also `attempt`, `options` (of the reset, JSON), `ending`, `conclusion` (the "
    "critic's verdict on the ending), `source` (its place in the run), `environment`, and `branched_at`: a branch "
    "shares its first steps with the episode that it branched from."
)
USE_LEROBOT = """from lerobot.datasets import LeRobotDataset

dataset = LeRobotDataset("{name}", root="{name}")"""
USE_MINARI = """import os
os.environ["MINARI_DATASETS_PATH"] = "."  # the folder that holds this one

import minari
dataset = minari.load_dataset("{name}")"""


class Writer(Protocol):
    """Takes episodes one by one; `close` completes the dataset."""

    episodes: int
    frames: int

    def add(self, recorded: Recorded) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Prepared:
    """A dataset that is about to be written. begin: the folder -> its writer. card: the command and the licence -> its
    card, once it is written."""

    begin: Callable[[Path], AbstractContextManager[Writer]]
    card: Callable[[str, str | None], Card]


def writer_for(kind: str, recording: Recording, out: Path, fps: float | None, video: bool) -> Prepared:
    """kind: `lerobot` or `minari`. Raises UserError for episodes that the format cannot hold."""
    layout = layout_of(recording.census, fps)
    if kind == "minari":
        return _minari(recording, layout, out)
    layout.action_dtype  # noqa: B018 (raises UserError)
    held = COLUMNS.format(
        pictures=", ".join(f"`{CAMERA}{camera}`" for camera in layout.cameras),
        kind="H.264" if video else "lossless",
        state=f"| `observation.state` | the numbers of `proprioception`: {', '.join(layout.state)} |\n"
        * bool(layout.state),
        action=f"of {layout.space}",
    )
    about = f"A LeRobotDataset v3.0 at {layout.fps:g} decisions per second (action repeat {layout.repeat})."

    def card(command: str, licence: str | None) -> Card:
        use, files = USE_LEROBOT.format(name=out.name), {"default": "data/*/*.parquet"}
        return _card(recording, out.name, command, files, [about, held, EPISODES], use, ["LeRobot"], licence)

    return Prepared(lambda folder: LeRobotWriter(folder, layout, video), card)


def _minari(recording: Recording, layout: Layout, out: Path) -> Prepared:
    minari.check_name(out)
    if len(recording.census.tasks) > 1:
        names = ", ".join(recording.census.tasks)
        raise UserError(
            f"a Minari dataset is of one environment, and these are episodes of {names}; valid: --task with one of them"
        )
    several = "Of the observation after the last action, only the last camera's picture is new. "
    held = (
        f"Observations are pictures, uint8, raw (no JPEG); {layout.fps:g} decisions per second (action repeat "
        f"{layout.repeat}). {several * (len(layout.cameras) > 1)}`infos` has `answer`, `verdict` (-1 where the critic "
        "was not asked), `instruction`, `proprioception` and `success`, T + 1 of each. The metadata of an episode has "
        "its `seed`, `options`, `success`, `ending`, `certificate` and `source`."
    )

    def card(command: str, licence: str | None) -> Card:
        use = USE_MINARI.format(name=out.name)
        return _card(recording, out.name, command, {}, [held], use, ["minari", "gymnasium"], licence)

    about = f"Episodes of {recording.census.tasks[0]}, recorded by HandEye"
    return Prepared(lambda folder: minari.MinariWriter(folder, layout, out.name, about), card)


def _card(
    recording: Recording,
    name: str,
    command: str,
    files: Mapping[str, str],
    holds: Sequence[str],
    use: str,
    tags: Sequence[str],
    licence: str | None,
) -> Card:
    rows, what, made = sum(recording.tally.steps.values()), of_episodes(recording), episodes_made(recording)
    return Card(name, command, rows, files, what, holds, made, use, tags, licence)
