"""The first rung: what the policy sees, as a file, and whether it shows anything."""

from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from agent.measure.ladder.playing import wander
from agent.measure.ladder.rungs import Picture
from agent.organise import durable
from envs.foreign.showing import check_shows
from envs.observation import encode_png
from envs.task import Task
from envs.wrappers import pictures

STEPS = 20  # of random play, after which parts that moved are measured
LARGE = 512  # [px] of the side of the pictures in which parts are measured
CHANGED = 24  # levels of 255 in one channel by which a pixel counts as changed


def picture(task: Task, path: Path) -> Picture:
    """Saves the frames of the first observation, side by side.

    Raises UserError for pictures that show nothing (`envs.foreign.showing`); then none is saved.
    """
    actions = wander(task, 0, STEPS)
    with closing(task.make()) as env:
        check_shows(env, task.env.still)
        env.reset(seed=0)
        first = task.observe(env).frames
    durable.write(path, encode_png(np.concatenate(list(first), axis=1)))
    return Picture(str(path), first.shape, _part_px(task, actions))


def _part_px(task: Task, actions: list[Any]) -> float | None:
    """[px] of the task's own frame: the smaller side of the largest connected region that differs between the start and
    a later moment of random play. It is measured in pictures of LARGE px, where small parts are not blurred away."""
    with closing(task.with_env(frames=1).sized(LARGE).make()) as env:
        env.reset(seed=0)
        first = pictures(env)[-1].astype(int)
        for action in actions:
            env.step(action)
        last = pictures(env)[-1].astype(int)
    mask = (np.abs(last - first).max(axis=2) > CHANGED).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    largest = max(outlines, key=cv2.contourArea)
    return (min(cv2.minAreaRect(largest)[1]) + 1) * task.env.image_size / LARGE
