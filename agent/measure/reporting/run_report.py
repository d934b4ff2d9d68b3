"""The report of a run: the numbers of its page, and the page itself, `report.html` with its twin `report.json`.

What a run folder holds is read by `agent.record.report`, which also draws the page; here is what is computed of it.
"""

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from agent.config.optimisers import in_order
from agent.measure.reporting.judged import judged
from agent.measure.statistics import heldout_gains, rate
from agent.organise.episode import Episode, whole_by_task
from agent.record.console import say
from agent.record.report import reading
from agent.record.report.contents import (
    Both,
    Contents,
    Cost,
    Entry,
    RoundRow,
    TaskRow,
    Verdict,
)
from agent.record.report.lineage import lineage
from agent.record.report.nearest import nearest
from agent.record.report.page import FRAMES_MB, Live, write
from agent.record.report.reading import Run
from agent.record.run.journal import FILE as JOURNAL
from agent.record.rundir import RunDir, is_written
from envs.errors import UserError, first_line

LOOK_S = 5  # between two looks whether a run went on
PURPOSES = {"practise": "practice", "gate": "gate", "evaluate": "held-out", "film": "films"}  # of env_steps


def report(path: Path, out: Path | None = None, frames_mb: float = FRAMES_MB, live: Live | None = None) -> Path:
    """Write the page of the run in a folder, into `report.html` there or as `out`; returns its path.

    frames_mb: [MB] of the frames, before base64. live: of a run that goes on. Raises UserError for a folder without a
    run, and where the disk is full or fails.
    """
    run = reading.read(path)
    episodes = list(chain.from_iterable(run.episodes.values()))
    out = out or path / "report.html"
    write(contents(run, episodes), episodes, out, frames_mb, live)
    return out


def refresh(run: RunDir) -> None:
    """Write the page of a run that goes on: one that cannot be written is a line, and ends nothing."""
    if run.follower and run.follower.poll() is None:
        return
    try:
        report(run.path, live=Live())
    except Exception as error:  # whatever a page stumbles on, the run is worth more
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
        say(f"report.html is not written: {why}; the run goes on; later: handeye report {run.path}")


def follow(path: Path, out: Path | None = None, frames_mb: float = FRAMES_MB) -> Path:
    """Write the page of a run whenever its journal or its results change, until the run is complete or no process
    writes into its folder; returns the page's path. Raises UserError for a folder without a run."""
    written = None
    while True:
        goes_on = is_written(path)
        now = goes_on, *(_changed(path / name) for name in (JOURNAL, reading.RESULTS))
        if now != written and ((path / JOURNAL).exists() or not goes_on):  # it may not have begun yet
            page, written = report(path, out, frames_mb, Live() if goes_on else None), now
        if not goes_on:
            return page
        time.sleep(LOOK_S)


def _changed(path: Path) -> int:
    """When a file was last written, [ns]; 0 for none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def contents(run: Run, episodes: Sequence[Episode]) -> Contents:
    """All of the report. episodes: those of all stores of the run, in their order."""
    numbers = {id(episode): number for number, episode in enumerate(episodes)}
    learned = lineage(run, lambda episode: numbers[id(episode)])
    entries = [_entry(run, numbers[id(e)], store, e) for store, some in run.episodes.items() for e in some]
    both = list(_both(run, numbers))
    failed = {n: episodes[n] for row in both if (n := row.after) is not None and _failed(episodes[n])}
    heldout, mean = _heldout(run)
    return Contents(
        run=run.path.resolve().name,
        state=run.state,
        complete=run.complete,
        verdict=_verdict(run, mean, sum(row["before"]["n"] for row in heldout.values())),
        tasks=[_task_row(run, task, row) for task, row in heldout.items()],
        rounds=[_round_row(run, number) for number in run.rounds],
        costs=_costs(run),
        episodes=entries,
        both=both,
        pairs=learned.pairs,
        trained=learned.trained,
        imitated_in=learned.imitated_in,
        nearest=nearest(failed, learned.trained, episodes),
        critic=judged(run, numbers),
        versions=run.begun["versions"],
        provenance=run.begun["provenance"],
        config=run.config,
        absent=run.absent,
    )


def _failed(episode: Episode) -> bool:
    return not episode.success and episode.ending != "broken"


def _entry(run: Run, number: int, store: str, e: Episode) -> Entry:
    conclusion = e.conclusion
    return Entry(
        number=number,
        store=store,
        round=int(store[6:9]) if store.startswith("round_") else 0,
        policy=_policy(run, store),
        task=e.task,
        seed=e.seed,
        attempt=e.attempt,
        success=e.success,
        ending=e.ending,
        error=e.error,
        steps=len(e.steps),
        reward=round(e.total_reward, 4),
        branched_at=e.branched_at,
        verdict=conclusion and round(float(conclusion.verdict), 4),
        reason=conclusion.reason if conclusion else "",
        certificate=_certificate(run, store, e),
        state=e.final_fingerprint.hex() if e.final_fingerprint else "",
    )


def _policy(run: Run, store: str) -> str:
    """Who acted, as the folder of its checkpoint, or `seed policy`."""
    if store.startswith("heldout"):
        rounds = run.rounds if store.endswith("after") else []
        return _incumbent(run, rounds)
    number, name = int(store[6:9]), store[10:]
    if name == "gate/candidate":
        return f"round_{number:03d}/policy"
    policy = _incumbent(run, [n for n in run.rounds if n < number])
    for training in in_order(run.methods) if name.startswith("branches") else ():
        if training.branches == name:
            return policy
        policy = f"round_{number:03d}/{training.out}"
    return policy


def _incumbent(run: Run, rounds: Iterable[int]) -> str:
    """The latest policy that passed in these rounds."""
    passed = [number for number in rounds if run.rows[number].get("accepted")]
    return f"round_{passed[-1]:03d}/policy" if passed else f"seed policy ({run.config.get('policy')})"


def _certificate(run: Run, store: str, e: Episode) -> str:
    certify = run.config.get("collect", {}).get("certify")
    inexact = (run.results or {}).get("inexact", [])
    if e.ending == "broken":
        return f"none: {e.error}"
    if e.task in inexact:
        return "none: the task's file says exact: false"
    if store.startswith("heldout") or "/gate/" in store:
        return "not asked for: held-out and gate episodes are simulated again by handeye replay"
    if certify == "all" or (certify == "kept" and "branches" in store):
        return "simulated again, equal bit for bit"
    return "simulated again where it was kept" if certify == "kept" else "none: collect.certify is none"


def _both(run: Run, numbers: Mapping[int, int]) -> Iterable[Both]:
    """Held-out starts first, then each round's gate."""
    sides = [("held-out", "heldout/before", "heldout/after")]
    sides += [(f"gate {n}", f"round_{n:03d}/gate/incumbent", f"round_{n:03d}/gate/candidate") for n in run.rounds]
    for where, *stores in sides:
        before, after = (
            {(e.task, e.seed, e.attempt): numbers[id(e)] for e in run.episodes.get(store, ())} for store in stores
        )
        for key in dict.fromkeys([*before, *after]):
            yield Both(where, key[0], key[1], before.get(key), after.get(key))


def _heldout(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """`heldout` and `heldout_mean`, as recorded; of a run without results, of the episodes before."""
    if run.results and "heldout" in run.results:
        return run.results["heldout"], run.results["heldout_mean"]
    before = whole_by_task(run.episodes.get("heldout/before", ()))
    if not before:
        return {}, {}
    found = heldout_gains(before, None)
    return found["heldout"], found["heldout_mean"]


def _task_row(run: Run, task: str, row: Mapping[str, Any]) -> TaskRow:
    gain = row["gain"] or {}
    practised = task in run.config["tasks"]
    return TaskRow(
        task, practised, row["before"], row["after"], gain.get("points"), gain.get("ci95"), gain.get("p_value")
    )


def _verdict(run: Run, mean: Mapping[str, Any], episodes: int) -> Verdict:
    results = run.results or {}
    counted: dict[str, int] = {}
    for _, _, some, _ in run.spent:
        for name, n in some.items():
            counted[name] = counted.get(name, 0) + n
    budget = counted or results.get("budget", {})
    seconds = sum(wall_s for *_, wall_s in run.spent) or results.get("budget", {}).get("wall_s", 0.0)
    model = results.get("model", {})
    return Verdict(
        before=mean.get("before"),
        after=mean.get("after"),
        gain=mean.get("gain_points"),
        ci95=mean.get("ci95"),
        episodes=episodes,
        env_steps=budget.get("env_steps", 0),
        all_steps=sum(budget.get(name, 0) for name in ("env_steps", "branch_env_steps", "verify_env_steps")),
        minutes=seconds / 60,
        machine=", ".join(str(model[key]) for key in ("device", "dtype") if key in model) or "not recorded",
        command=shlex.join(["handeye", "improve", str(Path(run.config["out"]) / "config.yaml"), "--out", "runs/again"]),
        policy=_incumbent(run, run.rounds),
    )


def _round_row(run: Run, number: int) -> RoundRow:
    row = run.rows[number]
    gate = row.get("gate", {})
    state = "under way"
    if "accepted" in row or "unhealthy" in row:
        state = "unhealthy" if "unhealthy" in row else "accepted" if row["accepted"] else "refused"
    practised = whole_by_task(run.of(number, "episodes"))
    tasks = gate.get("tasks", {})
    return RoundRow(
        number=number,
        state=state,
        reason=row.get("unhealthy") or gate.get("reason", ""),
        practice={task: rate([e.success for e in some]) for task, some in practised.items()},
        before={task: tally["before"] for task, tally in tasks.items()},
        after={task: tally["after"] for task, tally in tasks.items()},
        p_value=gate.get("p_value"),
        gate_episodes=gate.get("episodes", 0),
        examples=row.get("sft_examples"),
        pairs=row.get("pairs"),
        branches=row.get("branches"),
    )


def _costs(run: Run) -> list[Cost]:
    costs: dict[int, Cost] = {}
    for number, stage, spent, wall_s in run.spent:
        cost = costs.setdefault(number, Cost(number, {}, {}))
        purpose = PURPOSES.get(stage.split()[0])
        by_purpose = {
            purpose: spent.get("env_steps", 0),
            "branches": spent.get("branch_env_steps", 0),
            "certificates": spent.get("verify_env_steps", 0),
        }
        for name, steps in by_purpose.items():
            if name and steps:
                cost.steps[name] = cost.steps.get(name, 0) + steps
        cost.minutes[stage] = wall_s / 60
    return list(costs.values())
