"""Evaluate: greedy episodes of every task of the report on held-out seeds, and films of other held-out seeds."""

import re
from pathlib import Path

from agent.collect.starts import film_seeds, heldout_seeds
from agent.organise.episode import Episode
from agent.record import video
from agent.stages.round import Round


def evaluate(r: Round, checkpoint: Path, name: str) -> dict[str, list[Episode]]:
    """Task -> its held-out episodes, stored in the run's folder `heldout/NAME`."""
    played = {}
    for task in r.config.evaluation.tasks:
        starts = [(seed, 0) for seed in heldout_seeds(r.config, task)]
        job = r.job(task, checkpoint, starts=starts, critic=r.config.critic)
        played[task] = r.measure(f"held-out {task}", job)
    r.run.heldout(name).append(e for episodes in played.values() for e in episodes)
    return played


def film(r: Round, checkpoint: Path) -> None:
    """Films of held-out starts, the same in every round, as videos in the round's folder."""
    evaluation = r.config.evaluation
    starts = [(seed, 0) for seed in film_seeds(r.config)]
    for task in evaluation.tasks if starts else ():
        played = r.rollout(f"film {task}", r.job(task, checkpoint, starts=starts, critic=r.config.critic))
        name = re.sub(r"[^\w-]+", "_", task)  # a declared task's name is a path, which may lead out of the run
        for i, episode in enumerate(e for e in played if e.ending != "broken"):
            path = r.folder / "videos" / f"{name}-{i}.mp4"
            video.write(path, [video.film(episode)])
            r.tracker.video(f"video/{task}-{i}", path)
