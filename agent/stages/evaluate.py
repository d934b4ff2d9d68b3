"""Evaluate: greedy episodes of every task of the report on held-out seeds, films of other held-out seeds, and what
results.json says of them."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agent.collect.starts import film_seeds, heldout_seeds
from agent.measure.statistics import heldout_gains, rate, successes
from agent.organise.episode import Episode, whole_by_task
from agent.record import video
from agent.record.provenance import versions, weights_sha256
from agent.record.tracking.tables import episode_rows
from agent.stages.log import log_seed
from agent.stages.round import Round
from agent.stages.stage import stage
from envs import registry
from policies.backends.loading import placement


@stage
def evaluate(r: Round, checkpoint: Path, name: str) -> dict[str, int]:
    """Held-out episodes of every task, into the run's `heldout/NAME`. name: `before` or `after`."""
    played, films = [], r.config.tracking.films
    if name == "before":
        log_seed(r, checkpoint)
    for task in r.config.evaluation.tasks:
        starts = [(seed, 0) for seed in heldout_seeds(r.config, task)]
        job = r.job(task, checkpoint, starts=starts, critic=r.config.critic)
        played += r.measure(f"held-out {task}", job)
    r.store(r.run.heldout(name)).append(played)
    r.tracker.table(f"held-out/{name}/episodes", lambda folder: episode_rows(played, films, folder))
    r.log("held-out", _rates(played))
    return {"heldout_episodes": len(played)}


def _rates(played: Sequence[Episode]) -> dict[str, float]:
    """The ends of each task's 95 % interval, and mean success over tasks."""
    rates = {task: rate(successes(some)) for task, some in whole_by_task(played).items()}
    numbers = {"mean": float(np.mean([each["rate"] for each in rates.values()]))}
    for task, each in rates.items():
        low, high = each["ci95"]
        numbers |= {f"{task}/ci95_low": low, f"{task}/ci95_high": high}
    return numbers


def heldout(r: Round, name: str) -> dict[str, list[Episode]]:
    """Task -> its held-out episodes, of the stage `evaluate` with this name."""
    played = {task: [] for task in r.config.evaluation.tasks}
    for episode in r.episodes(r.run.heldout(name)):
        played[episode.task].append(episode)
    return played


@stage
def film(r: Round, checkpoint: Path) -> dict[str, int]:
    """Films of held-out starts, the same in every round, as videos in the round's folder."""
    evaluation, films = r.config.evaluation, 0
    starts = [(seed, 0) for seed in film_seeds(r.config)]
    for task in evaluation.tasks if starts else ():
        played = r.rollout(f"film {task}", r.job(task, checkpoint, starts=starts, critic=r.config.critic))
        name = re.sub(r"[^\w-]+", "_", task)  # a declared task's name is a path, which may lead out of the run
        for i, episode in enumerate(e for e in played if e.ending != "broken"):
            path = r.output("videos") / f"{name}-{i}.mp4"
            video.write(path, [video.film(episode)])
            r.tracker.video(f"video/{task}-{i}", path)
            films += 1
    return {"films": films}


def results(start: Round, rows: list[dict[str, Any]], policy: Path, complete: bool) -> dict[str, Any]:
    """What results.json holds after these rounds. complete: whether held-out episodes were played after the last."""
    config, run = start.config, start.run
    begun, after = run.journal.begun, heldout(start, "after") if complete else None
    return {
        "schema": 1,
        "complete": complete,
        "config": asdict(config),
        "versions": versions(),
        "model": placement(start.player(policy), config.model),
        "provenance": begun["provenance"] | {"policy": weights_sha256(policy)},
        "certified": config.collect.certify,
        "inexact": registry.inexact(config.tasks),
        "budget": start.budget | {"wall_s": run.journal.wall_s},
        "rounds": rows,
        **heldout_gains(heldout(start, "before"), after),
        "policy": str(policy),
    }
