"""Videos of episodes, replayed in the simulator: a large view, the policy's latest frame, and its answer as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from agent.organise.episode import Episode
from envs.registry import task

SIZE = 320  # [px]
CAPTION_HEIGHT = 48  # [px]; like SIZE a multiple of 16, which every H.264 player accepts
FPS = 5  # frames per second


@dataclass(frozen=True)
class Shots:
    """Moments of an episode, replayed: before each of some answers, and the end.

    views: (n, size, size, 3) uint8, for people. observed: the policy's latest frame at each, (height, width, 3) uint8.
    said: the answer that follows each, and how the episode ended. steps: of each moment, from 0.
    """

    instruction: str
    views: np.ndarray
    observed: list[np.ndarray]
    said: list[str]
    steps: list[int]
    success: bool


def shots(episode: Episode, size: int = SIZE, at_most: int | None = None) -> Shots:
    """All moments of an episode, or `at_most` so many, evenly spaced: its first and its last are among them."""
    last = len(episode.steps)
    wanted = range(last + 1) if at_most is None else np.linspace(0, last, min(at_most, last + 1)).round().astype(int)
    env = task(episode.task).with_env(frames=1).make()
    env.reset(seed=episode.seed)
    views, observed, said = [], [], []
    for i in range(last + 1):
        step = episode.steps[i] if i < last else None
        if i in wanted:
            views.append(env.get_wrapper_attr("view")(size))
            observed.append(step.observation.frames[-1] if step else episode.final_frame)
            said.append(step.decision.answer if step else "success" if episode.success else "failure")
        if step:
            env.step(step.decision.action)
    env.close()
    instruction = episode.steps[-1].observation.instruction
    return Shots(instruction, np.stack(views), observed, said, list(map(int, wanted)), episode.success)


def film(episode: Episode) -> np.ndarray:
    """(steps + 1, SIZE + CAPTION_HEIGHT, 2 * SIZE, 3) uint8: a large view beside the policy's latest frame."""
    seen = shots(episode)
    titles = [step.observation.instruction for step in episode.steps] + [seen.instruction]
    return np.stack([_frame(*moment) for moment in zip(seen.views, seen.observed, titles, seen.said, strict=True)])


def _frame(view: np.ndarray, observed: np.ndarray, title: str, text: str) -> np.ndarray:
    finer = len(observed) > SIZE
    observed = cv2.resize(observed, (SIZE, SIZE), interpolation=cv2.INTER_AREA if finer else cv2.INTER_NEAREST)
    caption = np.full((CAPTION_HEIGHT, 2 * SIZE, 3), 255, np.uint8)
    for line, (words, weight) in enumerate(((title, 2), (text, 1))):
        cv2.putText(caption, words, (8, 19 + 21 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), weight, cv2.LINE_AA)
    return np.vstack([np.hstack([view, observed]), caption])


def write(path: Path, films: Sequence[np.ndarray]) -> None:
    """Write films (T, H, W, 3) uint8, one above the other, as an .mp4 that a browser plays (H.264, yuv420p)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = max(len(frames) for frames in films) + 2 * FPS  # the last frame stays for two seconds
    still = [np.concatenate([f, np.repeat(f[-1:], length - len(f), axis=0)]) for f in films]
    iio.imwrite(path, np.concatenate(still, axis=1), fps=FPS, codec="libx264", pixelformat="yuv420p")
