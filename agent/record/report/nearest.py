"""The imitated step that looks most like a step of a failed episode: what the policy had to learn from there."""

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from agent.organise.episode import Episode
from agent.record.report.contents import Nearest, Training
from envs import registry
from envs.errors import UserError
from envs.observation import Observation

SIDE = 16  # [px] of the frames that are compared
MOST_ROWS = 3000  # of one environment; of more, as many are taken evenly


def nearest(
    failed: Mapping[int, Episode], trained: Iterable[Training], episodes: Sequence[Episode]
) -> dict[int, list[Nearest]]:
    """Number of a failed episode -> for each of its steps the nearest imitated step, of a task of its environment."""
    rows: dict[str, list[tuple[int, Observation]]] = {}
    for each in trained:
        episode = episodes[each.episode]
        some = rows.setdefault(_environment(episode.task), [])
        some += [(each.first_row + i, episode.steps[step].observation) for i, step in enumerate(each.steps)]
    wanted = {_environment(episode.task) for episode in failed.values()} & rows.keys()
    known = {name: _Rows(rows[name]) for name in wanted}
    return {
        number: [known[name].nearest(step.observation) for step in episode.steps]
        for number, episode in failed.items()
        if (name := _environment(episode.task)) in known
    }


class _Rows:
    def __init__(self, rows: Sequence[tuple[int, Observation]]):
        some = [rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(int)]
        self._numbers = [number for number, _ in some]
        self._frames = np.stack([_small(observation) for _, observation in some])

    def nearest(self, observation: Observation) -> Nearest:
        distances = np.abs(self._frames - _small(observation)).mean(axis=1)
        best = int(distances.argmin())
        return Nearest(self._numbers[best], round(float(distances[best]), 1))


def _small(observation: Observation) -> np.ndarray:
    """(SIDE * SIDE * 3,) float32, of the latest frame."""
    frame = observation.last_frame().unpacked()
    return cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


def _environment(task: str) -> str:
    """The id of a task's environment; the task's own name where its file is not here."""
    try:
        return registry.wordless(task).env.id
    except UserError:
        return task
