"""An experiment: arms that differ in some config keys, each run with several seeds, compared on the same episodes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from agent.config import Config, Experiment, load
from agent.measure.statistics import RESAMPLES
from agent.record.console import say
from agent.record.ownership import STALE, kind_of
from agent.record.provenance import source
from agent.record.run.journal import Journal
from agent.record.run.resume import check_same, other_versions
from agent.record.rundir import flat, is_complete, is_fresh, retire
from agent.record.tables import points
from agent.record.tracking import TrackedJob, Tracker
from agent.record.tracking.sinks import chosen
from envs.errors import UserError, unknown
from policies.base import find_policy

IN_A_TABLE = {"rounds", "budget", "heldout", "heldout_mean"}  # keys of a run's results


def configs(experiment: Experiment, out: Path) -> dict[str, list[Config]]:
    """Arm -> the config of each of its seeds; all are one group of W&B, tagged with their arm, unless a key says
    otherwise. Raises UserError for a bad key or value."""
    runs = {}
    for arm, changes in experiment.arms.items():
        tracked = {"tracking.group": out.resolve().name, "tracking.tags": [arm]}
        keys = tracked | experiment.common | changes
        places = {seed: {"seed": seed, "out": str(out / arm / f"seed_{seed}")} for seed in experiment.seeds}
        runs[arm] = [load(Path(experiment.base), changes=keys | place) for place in places.values()]
    return runs


def compare_arms(
    experiment: Experiment,
    out: Path,
    check: Callable[[Config], None],
    run_each: Callable[[Iterator[Config]], None],
    against: str | None = None,
    lanes: int = 1,
) -> str:
    """Run every config without results, and return the table: each arm minus the arm `against`, by default the first.

    A finished run is taken where its config, packages, commit, declared tasks and seed policy are those of now. One
    that is stale is named, moved aside and run again; an unfinished one that is not stale goes on.
    check: raises UserError for a config that cannot run. run_each: of each config that it takes, makes the run folder
    with results.json, or goes on with an unfinished one; `lanes` of them at once.
    Raises UserError, before the first run, for a config that cannot run, an unknown arm, or
    a folder in the way.
    """
    against = against or next(iter(experiment.arms))
    if against not in experiment.arms:
        raise unknown("arm", against, experiment.arms)
    runs = configs(experiment, out)
    for config in (config for arm in runs.values() for config in arm):
        check(config)
    why_stale = {config.out: _why_stale(config) for arm in runs.values() for config in arm}
    by_seed = [arm[seed] for seed in range(len(experiment.seeds)) for arm in runs.values()]  # to compare arms early
    run_each(_left(by_seed, why_stale, lanes))
    results = {arm: [_results(config) for config in seeds] for arm, seeds in runs.items()}
    text = table(results, against)
    (out / "table.md").write_text(text)
    arms = arm_numbers(results, against)
    (out / "table.json").write_text(json.dumps({"against": against, "arms": arms}, indent=1) + "\n")
    track(out, next(iter(runs.values()))[0], arms, against)
    return text


def arm_numbers(results: dict[str, Sequence[dict[str, Any]]], against: str) -> dict[str, dict[str, Any]]:
    """Arm -> seeds, mean success after its runs, and its difference to the arm `against` in points, with interval."""
    rows = {}
    for arm, runs in results.items():
        gain, (low, high) = difference(runs, results[against])
        success = float(np.mean([run["heldout_mean"]["after"] for run in runs]))
        rows[arm] = {"seeds": len(runs), "success": success, "difference": gain, "ci95_low": low, "ci95_high": high}
    return rows


def track(out: Path, config: Config, arms: dict[str, dict[str, Any]], against: str) -> None:
    """A job of the arms' group for the comparison itself: a line for each time that runs were added.

    config: a run's, whose sinks are this job's.
    """
    if not chosen(config.tracking):
        return
    named = {f"arms/{name}": value for name, value in flat(arms, "/").items()}
    before = (out / "metrics.jsonl").read_text().splitlines() if (out / "metrics.jsonl").is_file() else []
    if before and json.loads(before[-1]) == {"step": len(before) - 1} | named:
        return
    job, what = TrackedJob("compare", tags=tuple(arms)), {"against": against, "arms": list(arms)}
    tracker = Tracker(out, config.tracking, what, len(before), job)
    tracker.log(named)
    tracker.close()


def _left(runs: Sequence[Config], why_stale: Mapping[str, str], lanes: int) -> Iterator[Config]:
    """The configs that are to run. What is stale is moved aside when its turn comes."""
    left = [config for config in runs if why_stale[config.out] or not is_done(config)]
    for i, config in enumerate(left):
        if why := why_stale[config.out]:
            line = f"stale    {config.out}: {why}; moved aside as {retire(Path(config.out), STALE)}"
            say(line)
        say(f"run      {config.out} ({_how_long(runs, len(left) - i, lanes)})")
        yield config


def _how_long(runs: Sequence[Config], left: int, lanes: int) -> str:
    """What is left, in words; how long it takes by those that are done."""
    what = f"{left} of {len(runs)} left, {lanes} at once"
    done = [_results(config)["budget"].get("wall_s") for config in runs if is_done(config)]
    if not any(done):
        return f"{what}; how long they take is known after the first"
    mean = float(np.mean([seconds for seconds in done if seconds]))
    return f"{what}: about {ceil(left / lanes) * mean / 60:.0f} minutes, {mean / 60:.1f} each"


def _why_stale(config: Config) -> str:
    """Why the run in the config's folder is none of this config as it would be run now; empty where it is, or where
    nothing is there. Raises UserError for a folder that holds something else."""
    path = Path(config.out)
    if not path.exists() or is_fresh(path):
        return ""
    if kind_of(path) != "run":
        raise UserError(f"{str(path)!r} holds no run of ours; valid: another out, or first delete it yourself")
    journal = Journal(path)
    try:
        check_same(path, journal, config, find_policy(config.policy))
    except UserError as error:
        return str(error).rpartition("; valid: ")[0]
    others = other_versions(journal)
    if not others and False in (journal.begun["provenance"]["source"]["clean"], source()["clean"]):
        line = f"{path} is of the same commit, but code with uncommitted changes is not known to be the same"
        say(line)
    return f"it was made by other versions: {others}" if others else ""


def is_done(config: Config) -> bool:
    """Whether the run in the config's folder has all rounds."""
    if not is_complete(Path(config.out)):
        return False
    found = _results(config)
    rounds = found.get("rounds")
    return isinstance(rounds, list) and len(rounds) == config.rounds and found.keys() >= IN_A_TABLE


def _results(config: Config) -> dict[str, Any]:
    return json.loads((Path(config.out) / "results.json").read_text())


def table(results: dict[str, Sequence[dict[str, Any]]], reference: str) -> str:
    """Markdown: each arm's success after its runs, its gain over before, and its difference to the arm `reference`."""
    lines = [
        f"| arm | success after, mean of {len(results[reference])} seeds | each seed | gain | less {reference} | "
        "practice steps | branch steps | examples | pairs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm, runs in results.items():
        after = [run["heldout_mean"]["after"] for run in runs]
        rounds = [row for run in runs for row in run["rounds"]]
        spent = [np.mean([run["budget"][name] for run in runs]) for name in ("practice_env_steps", "branch_env_steps")]
        cells = [
            arm,
            f"{100 * np.mean(after):.1f} %",
            ", ".join(f"{100 * value:.0f}" for value in after),
            points(*difference(runs, runs, "before")),
            "" if arm == reference else points(*difference(runs, results[reference])),
            *(f"{steps:,.0f}" for steps in spent),
            *(f"{np.mean([row[name] for row in rounds]):,.0f}" for name in ("sft_examples", "pairs")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def difference(
    runs: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], when: str = "after"
) -> tuple[float, list[float]]:
    """Mean success after `runs` minus that of `others`, paired by seed, in points, and its 95 % interval.

    when: whether the others are taken `after` their runs or `before`. The interval is a bootstrap over seeds and,
    within a seed, over the paired episodes of each task. Raises UserError for runs that were not evaluated on the same
    episodes.
    """
    seeds = [_differences(run, other, when) for run, other in zip(runs, others, strict=True)]
    mean = 100 * float(np.mean([d.mean() for tasks in seeds for d in tasks]))
    rng = np.random.default_rng(0)
    means = np.array(
        [np.mean([rng.choice(d, (RESAMPLES, len(d))).mean(axis=1) for d in tasks], axis=0) for tasks in seeds]
    )  # (seeds, resamples)
    drawn = rng.integers(len(seeds), size=(len(seeds), RESAMPLES))
    low, high = np.percentile(100 * np.take_along_axis(means, drawn, axis=0).mean(axis=0), [2.5, 97.5])
    return mean, [float(low), float(high)]


def _differences(run: dict[str, Any], other: dict[str, Any], when: str) -> list[np.ndarray]:
    """For each task (n,) float: success in `run` minus success in `other`, on the episodes that broke in neither."""
    result = []
    for task, row in run["heldout"].items():
        a, b = row["outcomes"]["after"], other["heldout"].get(task, {"outcomes": {when: ""}})["outcomes"][when]
        if len(a) != len(b):
            raise UserError(f"{task!r} was evaluated on {len(a)} episodes, and on {len(b)}; valid: the same")
        if row.get("seeds") != other["heldout"][task].get("seeds"):
            raise UserError(f"{task!r} was evaluated on different starts; valid: arms of one version, run again")
        both = [(x, y) for x, y in zip(a, b, strict=True) if "-" not in (x, y)]
        result.append(np.array([int(x) - int(y) for x, y in both], float))
    return result
