"""Videos of episodes, replayed in the simulator: a large view, the policy's latest frame, and its answer as text."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import gymnasium as gym
import imageio.v3 as iio
import numpy as np

from agent.organise.episode import Episode
from envs.errors import UserError
from envs.registry import task

SIZE = 320  # [px]
CAPTION_HEIGHT = 48  # [px]; like SIZE a multiple of 16, which every H.264 player accepts
FPS = 5  # frames per second
STRIP_FRAMES = 6  # of a film as a png
FORMATS = (".mp4", ".png")


def film(episode: Episode) -> np.ndarray:
    """(steps + 1, SIZE + CAPTION_HEIGHT, 2 * SIZE, 3) uint8: a large view beside the policy's latest frame."""
    env = task(episode.task).with_env(frames=1).make()
    env.reset(seed=episode.seed)
    frames = []
    for step in episode.steps:
        latest, instruction = step.observation.frames[-1], step.observation.instruction
        frames.append(_frame(env, latest, instruction, step.decision.answer))
        env.step(step.decision.action)
    frames.append(_frame(env, episode.final_frame, instruction, "success" if episode.success else "failure"))
    env.close()
    return np.stack(frames)


def _frame(env: gym.Env, observed: np.ndarray, title: str, text: str) -> np.ndarray:
    view = env.get_wrapper_attr("view")(SIZE)
    finer = len(observed) > SIZE
    observed = cv2.resize(observed, (SIZE, SIZE), interpolation=cv2.INTER_AREA if finer else cv2.INTER_NEAREST)
    caption = np.full((CAPTION_HEIGHT, 2 * SIZE, 3), 255, np.uint8)
    for line, (words, weight) in enumerate(((title, 2), (text, 1))):
        cv2.putText(caption, words, (8, 19 + 21 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), weight, cv2.LINE_AA)
    return np.vstack([np.hstack([view, observed]), caption])


def check(path: Path) -> None:
    """Raises UserError for a path without one of FORMATS as its suffix."""
    if path.suffix not in FORMATS:
        raise UserError(f"cannot write {str(path)!r}; valid: a name that ends in {' or '.join(FORMATS)}")


def write(path: Path, films: Sequence[np.ndarray]) -> None:
    """Write films (T, H, W, 3) uint8, one above the other.

    An .mp4 is encoded so that a browser plays it (H.264, yuv420p); a .png shows STRIP_FRAMES moments. Raises UserError
    for another suffix.
    """
    check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        iio.imwrite(path, np.vstack([_strip(frames) for frames in films]))
        return
    length = max(len(frames) for frames in films) + 2 * FPS  # the last frame stays for two seconds
    still = [np.concatenate([f, np.repeat(f[-1:], length - len(f), axis=0)]) for f in films]
    iio.imwrite(path, np.concatenate(still, axis=1), fps=FPS, codec="libx264", pixelformat="yuv420p")


def _strip(frames: np.ndarray) -> np.ndarray:
    """STRIP_FRAMES evenly spaced moments of a film side by side, without captions and the policy's frames."""
    moments = np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)
    return np.hstack([frames[i, :SIZE, :SIZE] for i in moments])
