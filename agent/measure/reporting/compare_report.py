"""The report of a comparison: `report.html` of a folder of `handeye compare`, with the page's parts of a run's report.

Its numbers are those of `table.md`. Runs that are not complete are named, and counted in nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.measure.compare import difference
from agent.measure.reporting.entries import entry, starts
from agent.measure.statistics import rate
from agent.organise.episode import Episode
from agent.organise.store import EpisodeStore
from agent.record.report.beside import (
    MEAN,
    TABLE,
    Curves,
    arms_of,
    curves_beside,
    curves_of_run,
    merged,
    runs_of,
)
from agent.record.report.contents import ArmRow, ArmTask, Comparison, RunLine
from agent.record.report.page import FRAMES_MB, write
from agent.record.report.reading import RESULTS, mapping
from agent.record.run.status import state
from envs.errors import UserError, first_line

Results = dict[int, dict[str, Any]]  # seed -> results.json


def report(path: Path, out: Path | None = None, frames_mb: float = FRAMES_MB, beside: Sequence[Path] = ()) -> Path:
    """Write the page of the comparison in a folder, into `report.html` there or as `out`; returns its path.

    frames_mb: [MB] of the frames, before base64. beside: folders of baselines, other comparisons and runs. Raises
    UserError for a folder without a complete run, for one beside it without a task in common, and where the disk is
    full or fails.
    """
    others = {folder: curves_beside(folder) for folder in beside}
    out, absent = out or path / "report.html", []
    results = {arm: _results(path, arm, absent) for arm in arms_of(path)}
    results = {arm: runs for arm, runs in results.items() if runs}
    if not results:
        raise UserError(f"no run in {str(path)!r} is complete; valid: a folder of handeye compare, once one is")
    told = mapping(path / TABLE) if (path / TABLE).is_file() else {}
    against = told.get("against") if told.get("against") in results else next(iter(results))
    episodes = _episodes(path, results, absent)
    page = _contents(path, results, against, episodes, absent)
    page = replace(page, curves=_curves(path, results, others), runs=_runs(path, out.parent))
    write(page, [e for some in episodes.values() for e in some], out, frames_mb)
    return out


def _results(path: Path, arm: str, absent: list[str]) -> Results:
    found = {}
    for run in runs_of(path / arm):
        where = f"{arm}/{run.name}"
        results = mapping(run / RESULTS) if (run / RESULTS).is_file() else {}
        if not results.get("complete") or not {"heldout", "heldout_mean", "rounds", "budget"} <= results.keys():
            absent.append(f"{where}: not complete")
            continue
        found[int(run.name[5:])] = results
    return found


def _episodes(path: Path, results: Mapping[str, Results], absent: list[str]) -> dict[tuple[str, int], list[Episode]]:
    """(arm, seed) -> the held-out episodes after the run."""
    found = {}
    for arm, runs in results.items():
        for seed in runs:
            store = path / arm / f"seed_{seed}" / "heldout" / "after"
            found[arm, seed] = list(EpisodeStore(store).undamaged(absent.append))
            if not found[arm, seed]:
                absent.append(f"{arm}/seed_{seed}/heldout/after: no episodes")
    return found


def _contents(
    path: Path,
    results: Mapping[str, Results],
    against: str,
    episodes: Mapping[tuple[str, int], list[Episode]],
    absent: list[str],
) -> Comparison:
    entries, numbers = [], {}
    for (arm, seed), some in episodes.items():
        for e in some:
            numbers[id(e)] = len(entries)
            store = f"{arm}/seed_{seed}/heldout/after"
            entries.append(entry(len(entries), e, store, f"{arm}, seed {seed}", certificate="not asked for"))
    both, sides = [], {}
    for (arm, seed), some in episodes.items():
        if arm != against:
            where = f"{arm}, seed {seed}"
            both += starts(where, episodes.get((against, seed), ()), some, numbers)
            sides[where] = (against, arm)
    if not both:  # one arm alone
        for (arm, seed), some in episodes.items():
            both += starts(f"{arm}, seed {seed}", (), some, numbers)
    first = next(iter(results[against].values()))
    return Comparison(
        name=path.resolve().name,
        against=against,
        arms=[_arm(arm, runs, results[against], arm == against, absent) for arm, runs in results.items()],
        tasks=list(_tasks(results, against)),
        runs=[],
        curves={},
        episodes=entries,
        both=both,
        names=(against, "the other arm"),
        sides=sides,
        versions=first.get("versions", {}),
        provenance=first.get("provenance", {}),
        config=first.get("config", {}),
        absent=absent,
    )


def _arm(arm: str, runs: Results, reference: Results, is_reference: bool, absent: list[str]) -> ArmRow:
    own, others = _common(runs, reference)
    if len(own) < len(runs):
        absent.append(f"{arm}: {len(runs) - len(own)} seeds that the arm it is compared with has not, left out of less")
    gain, gain_ci95 = difference([*runs.values()], [*runs.values()], "before")
    less, less_ci95 = (None, None) if is_reference or not own else difference(own, others)
    rounds = [row for run in runs.values() for row in run["rounds"]]

    def mean(name: str) -> float:
        return float(np.mean([row.get(name, 0) for row in rounds])) if rounds else 0.0

    def steps(name: str) -> float:
        return float(np.mean([run["budget"].get(name, 0) for run in runs.values()]))

    return ArmRow(
        arm=arm,
        seeds=list(runs),
        before=[run["heldout_mean"]["before"] for run in runs.values()],
        after=[run["heldout_mean"]["after"] for run in runs.values()],
        gain=gain,
        gain_ci95=gain_ci95,
        less=less,
        less_ci95=less_ci95,
        practice_steps=steps("practice_env_steps"),
        branch_steps=steps("branch_env_steps"),
        rows=mean("sft_examples"),
        pairs=mean("pairs"),
    )


def _common(runs: Results, reference: Results) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The results of the seeds that both have, in the same order."""
    seeds = [seed for seed in runs if seed in reference]
    return [runs[seed] for seed in seeds], [reference[seed] for seed in seeds]


def _tasks(results: Mapping[str, Results], against: str) -> Sequence[ArmTask]:
    for task in next(iter(results[against].values()))["heldout"]:
        for arm, runs in results.items():
            outcomes = "".join(run["heldout"][task]["outcomes"]["after"] for run in runs.values()).replace("-", "")
            own, others = ([_only(run, task) for run in some] for some in _common(runs, results[against]))
            less, ci95 = (None, None) if arm == against or not own else difference(own, others)
            yield ArmTask(arm, task, rate([each == "1" for each in outcomes]), less, ci95)


def _only(run: Mapping[str, Any], task: str) -> dict[str, Any]:
    return {"heldout": {task: run["heldout"][task]}}


def _curves(path: Path, results: Mapping[str, Results], beside: Mapping[Path, Curves]) -> Curves:
    """Task -> a curve for each seed of each arm, and those beside them."""
    found: Curves = {}
    for arm, runs in results.items():
        for seed in runs:
            for task, curves in curves_of_run(path / arm / f"seed_{seed}", arm).items():
                found.setdefault(task, []).extend(curves)
    return merged(dict(sorted(found.items(), key=lambda item: item[0] != MEAN)), beside)


def _runs(path: Path, beside: Path) -> list[RunLine]:
    """Each run of each arm. beside: the folder of the page, which the links begin at."""
    lines = []
    for arm in arms_of(path):
        for run in runs_of(path / arm):
            try:
                words = state(run).text
            except UserError as error:
                words = first_line(error)
            mean = mapping(run / RESULTS).get("heldout_mean", {}) if (run / RESULTS).is_file() else {}
            is_linked = (run / "report.html").is_file() and beside.resolve() == path.resolve()
            page = f"{arm}/{run.name}/report.html" if is_linked else ""
            lines.append(RunLine(arm, int(run.name[5:]), words, mean.get("after"), page))
    return lines
