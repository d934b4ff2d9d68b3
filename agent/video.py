"""An episode as a film for people: played again in the simulator, seen from the side, with what the policy said."""

from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from agent.episode import Episode
from envs.registry import task

SIZE = 320  # [px]
FPS = 5
CAPTION_HEIGHT = 48  # [px], divisible by 16 with SIZE so that every player takes the film


def film(episode: Episode) -> np.ndarray:
    """(T, SIZE + CAPTION_HEIGHT, 2 * SIZE, 3) uint8: the side view beside what the policy saw."""
    env = task(episode.task).make()
    env.reset(seed=episode.seed)
    frames = []
    for step in episode.steps:
        frames.append(_frame(env, step.observation.instruction, step.decision.answer))
        env.step(step.decision.action)
    last = _frame(env, episode.steps[-1].observation.instruction, "success" if episode.success else "failure")
    env.close()
    return np.stack(frames + [last] * (2 * FPS))


def _frame(env, title: str, text: str) -> np.ndarray:
    side = env.unwrapped.picture("side", SIZE)
    seen = cv2.resize(env.render(), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    caption = np.full((CAPTION_HEIGHT, 2 * SIZE, 3), 255, np.uint8)
    for line, (words, weight) in enumerate(((title, 2), (text, 1))):
        cv2.putText(caption, words, (8, 19 + 21 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), weight, cv2.LINE_AA)
    return np.vstack([np.hstack([side, seen]), caption])


def write(path: Path, frames: np.ndarray) -> None:
    """(T, H, W, 3) uint8 -> an mp4 that a browser plays (H.264, yuv420p)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, frames, fps=FPS, codec="libx264", pixelformat="yuv420p", macro_block_size=None)
