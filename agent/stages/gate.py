"""Gate: the candidate replaces the incumbent only if it is better on seeds of the gate's own, and worse on no task."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.collect.processes.recovery import check_broken
from agent.collect.starts import gate_seeds
from agent.measure.gate import decide
from agent.measure.statistics import successes
from agent.organise.episode import Episode
from agent.stages.round import Round
from agent.stages.stage import stage

Starts = dict[str, list[tuple[int, int]]]  # task -> (seed, attempt)


@stage
def gate(r: Round, incumbent: Path) -> dict[str, Any]:
    """Whether the candidate passes, and the paired measurement behind it; both policies' episodes go into `gate`.

    Both play the same batch of starts of every task, then `decide` looks, until it is sure. New seeds each round: on
    the same ones the best of several candidates would pass for its luck.
    """
    rule = r.config.gate
    starts = {task: [(seed, 0) for seed in gate_seeds(r.config, r.number, task)] for task in r.config.tasks}
    size = rule.batch if rule.sequential else max(map(len, starts.values()))
    standing, challenge, before, after, verdict = [], [], [], [], None
    while verdict is None:
        batch, starts = _next(starts, size)
        challenge += (new := _played(r, "candidate", r.candidate, batch))
        standing += (old := _played(r, "incumbent", incumbent, batch))
        if r.config.select.by == "critic":  # one critic for both: a candidate would pass by praising itself
            new = _by_incumbent(r, incumbent, new)
        before += _counted(r, old)
        after += _counted(r, new)
        left = {task: len(some) for task, some in starts.items()}
        if not any(left.values()):
            _check_whole(r.config.limits.broken, standing, challenge)
        verdict = decide(before, after, rule, left)
    r.store("gate/incumbent").append(standing)
    r.store("gate/candidate").append(challenge)
    return {"accepted": verdict.accepted, "gate": verdict.row()}


def _next(starts: Starts, size: int) -> tuple[Starts, Starts]:
    """The next `size` starts of each task, and those left after them."""
    return {task: some[:size] for task, some in starts.items()}, {task: some[size:] for task, some in starts.items()}


def _played(r: Round, role: str, checkpoint: Path, starts: Starts) -> list[Episode]:
    """Greedy episodes, with the policy's own verdicts of their ends."""
    played = []
    for task, some in starts.items():
        if some:
            job = r.job(task, checkpoint, starts=some, critic=r.config.critic)
            played += r.concluded(job, r.rollout(f"gate {role} {task}", job))
    return played


def _by_incumbent(r: Round, incumbent: Path, episodes: Sequence[Episode]) -> list[Episode]:
    """Copies with the incumbent's verdicts of their ends; the episodes keep their own policy's."""
    copies = [replace(e) for e in episodes]
    for task in dict.fromkeys(e.task for e in copies):
        r.concluded(r.job(task, incumbent, critic=r.config.critic), [e for e in copies if e.task == task])
    return copies


def _counted(r: Round, episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes with success by the word that counts, the reward's or the critic's; broken ones stay broken."""
    return r.labelled([e for e in episodes if e.ending != "broken"]) + [e for e in episodes if e.ending == "broken"]


def _check_whole(limit: float, *sides: Sequence[Episode]) -> None:
    """Raises UserError for a task of whose episodes all broke, or more than this share."""
    for side in sides:
        for task in dict.fromkeys(e.task for e in side):
            played = [e for e in side if e.task == task]
            successes(played)
            check_broken(f"gate {task}", played, limit)
