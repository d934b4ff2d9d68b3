"""Tables for sinks that show them: episodes with their answers, verdicts and films, and preference pairs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.organise.episode import Episode
from agent.record import video

if TYPE_CHECKING:
    from agent.organise.rows import Pair

FILM_PX = 256  # [px] side of a film of what the policy saw, a multiple of 16 as H.264 wants
EPISODE = ("task", "seed", "outcome", "ending", "steps", "reward", "instruction", "answers", "verdicts", "end verdict")
PICTURES = ("first frame", "last frame", "film", "error")
PAIR = ("frame", "prompt", "chosen", "rejected", "margin success", "margin saved")
MOST_PAIRS = 100  # in a table: those with the largest margins


@dataclass(frozen=True)
class Rows:
    """A table. A cell is text, a number, None, a picture (H, W, 3) uint8, or the path of an .mp4."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def episode_rows(episodes: Iterable[Episode], films: int, folder: Path, **more: str) -> Rows:
    """A row for each episode. films: of each task and outcome so many are filmed, into `folder`. more: further columns,
    with the same value in each row."""
    rows, filmed = [], Counter[tuple[str, str]]()
    for e in episodes:
        outcome = "broken" if e.ending == "broken" else "success" if e.success else "failure"
        film = None
        if e.steps and outcome != "broken" and e.image_size and filmed[e.task, outcome] < films:
            filmed[e.task, outcome] += 1
            film = _film(e, folder / f"{len(rows)}.mp4")
        decisions = [step.decision for step in e.steps]
        shown = e.image_size is not None and bool(e.steps)
        answers = "\n".join(f"{i}: {d.answer}" for i, d in enumerate(decisions))
        verdicts = ", ".join("-" if d.verdict is None else f"{d.verdict:.2f}" for d in decisions)
        rows.append(
            (
                *more.values(),
                e.task,
                e.seed,
                outcome,
                e.ending,
                len(e.steps),
                float(e.total_reward),
                e.steps[0].observation.instruction if e.steps else "",
                answers,
                verdicts,
                e.conclusion.verdict if e.conclusion else None,
                e.steps[0].observation.frames[-1] if shown else None,
                e.final_frame if shown else None,
                film,
                e.error,
            )
        )
    return Rows((*more, *EPISODE, *PICTURES), rows)


def pair_rows(pairs: Sequence["Pair"]) -> Rows:
    """A row for each of the first MOST_PAIRS pairs: the latest frame, the prompt, both answers and the margin."""
    rows = []
    for pair in pairs[:MOST_PAIRS]:
        prompt = "\n".join(_text(message["content"]) for message in pair.prompt)
        rows.append((pair.frames[-1], prompt, pair.chosen, pair.rejected, *map(float, pair.margin)))
    return Rows(PAIR, rows)


def _text(content: Any) -> str:
    """The text of a message, whose content is text or a list of parts."""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content).strip()


def _film(episode: Episode, path: Path) -> Path:
    """What the policy saw, step by step."""
    frames = [step.observation.frames[-1] for step in episode.steps]
    frames += [episode.final_frame] if episode.final else []
    big = [cv2.resize(frame, (FILM_PX, FILM_PX), interpolation=cv2.INTER_NEAREST) for frame in frames]
    video.write(path, [np.stack(big)])
    return path
