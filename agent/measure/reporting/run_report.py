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
from agent.measure.reporting.entries import entry, starts
from agent.measure.reporting.judged import judged
from agent.measure.statistics import heldout_gains, rate
from agent.organise.episode import Episode, whole_by_task
from agent.record.console import say
from agent.record.report import reading
from agent.record.report.beside import Curves, curves_beside, ends, merged, train_steps
from agent.record.report.contents import Both, Contents, Cost, Curve, Entry, RoundRow, TaskRow, Verdict
from agent.record.report.lineage import lineage
from agent.record.report.nearest import nearest
from agent.record.report.page import FRAMES_MB, Live, write
from agent.record.report.reading import Run
from agent.record.run.journal import FILE as JOURNAL
from agent.record.rundir import RunDir, is_written
from envs.errors import UserError, first_line

LOOK_S = 5  # between two looks whether a run went on
PURPOSES = {"practise": "practice", "gate": "gate", "evaluate": "held-out", "film": "films"}  # of env_steps


def report(
    path: Path,
    out: Path | None = None,
    frames_mb: float = FRAMES_MB,
    live: Live | None = None,
    beside: Sequence[Path] = (),
) -> Path:
    """Write the page of the run in a folder, into `report.html` there or as `out`; returns its path.

    frames_mb: [MB] of the frames, before base64. live: of a run that goes on. beside: folders of baselines, comparisons
    and other runs, whose curves are drawn beside the run's. Raises UserError for a folder without a run, for one beside
    it that has no task in common, and where the disk is full or fails.
    """
    others = {folder: curves_beside(folder) for folder in beside}
    run = reading.read(path)
    episodes = list(chain.from_iterable(run.episodes.values()))
    out = out or path / "report.html"
    write(contents(run, episodes, others), episodes, out, frames_mb, live)
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


def follow(path: Path, out: Path | None = None, frames_mb: float = FRAMES_MB, beside: Sequence[Path] = ()) -> Path:
    """Write the page of a run whenever its journal or its results change, until the run is complete or no process
    writes into its folder; returns the page's path. Raises UserError for a folder without a run."""
    written = None
    while True:
        goes_on = is_written(path)
        now = goes_on, *(_changed(path / name) for name in (JOURNAL, reading.RESULTS))
        if now != written and ((path / JOURNAL).exists() or not goes_on):  # it may not have begun yet
            page, written = report(path, out, frames_mb, Live() if goes_on else None, beside), now
        if not goes_on:
            return page
        time.sleep(LOOK_S)


def _changed(path: Path) -> int:
    """When a file was last written, [ns]; 0 for none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def contents(run: Run, episodes: Sequence[Episode], beside: Mapping[Path, Curves] | None = None) -> Contents:
    """All of the report. episodes: those of all stores of the run, in their order. beside: folder -> its curves."""
    numbers = {id(episode): number for number, episode in enumerate(episodes)}
    learned = lineage(run, lambda episode: numbers[id(episode)])
    entries = [_entry(run, numbers[id(e)], store, e) for store, some in run.episodes.items() for e in some]
    both = list(_both(run, numbers))
    failed = {n: episodes[n] for row in both if (n := row.after) is not None and _failed(episodes[n])}
    heldout, mean = _heldout(run)
    tasks = [_task_row(run, task, row) for task, row in heldout.items()]
    rounds = [_round_row(run, number) for number in run.rounds]
    return Contents(
        run=run.path.resolve().name,
        state=run.state,
        complete=run.complete,
        verdict=_verdict(run, mean, sum(row["before"]["n"] for row in heldout.values())),
        tasks=tasks,
        rounds=rounds,
        costs=_costs(run),
        episodes=entries,
        both=both,
        sides={f"gate {number}": ("incumbent", "candidate") for number in run.rounds},
        curves=_curves(run, tasks, rounds, beside or {}),
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
    of = int(store[6:9]) if store.startswith("round_") else 0
    return entry(number, e, store, _policy(run, store), of, _certificate(run, store, e))


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
    for where, before, after in sides:
        yield from starts(where, run.episodes.get(before, ()), run.episodes.get(after, ()), numbers)


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


def _curves(run: Run, tasks: Sequence[TaskRow], rounds: Sequence[RoundRow], beside: Mapping[Path, Curves]) -> Curves:
    """Task -> the run's curve and those beside it; none where nothing is named beside it."""
    if not beside:
        return {}
    steps = train_steps(each[:3] for each in run.spent)
    own = {}
    for row in tasks:
        practised = [r for r in rounds if r.number in steps and row.task in r.practice]
        practice = [(steps[r.number], r.practice[row.task]["rate"]) for r in practised]
        own[row.task] = [Curve("this run", ends(row.before, row.after, steps[-1]), practice)]
    return merged(own, beside)


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
