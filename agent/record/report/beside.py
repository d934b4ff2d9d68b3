"""Curves of success over environment steps, of a run, a baseline or the arms of a comparison, for a common axis.

The steps are those that training saw: of practice and of branches. Gates, held-out episodes and certificates are not
among them, as a baseline's evaluation is not.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.record.report.contents import Curve, Rate
from agent.record.report.reading import RESULTS, mapping
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.journal import Journal
from envs.errors import UserError

BASELINE, TABLE = "baseline.json", "table.json"  # of a baseline, a comparison
MEAN = "mean over the held-out tasks"
Curves = dict[str, list[Curve]]  # task -> its curves


def curves_beside(folder: Path) -> Curves:
    """The curves of what another command wrote. Raises UserError for a folder that is none of the three."""
    if (folder / BASELINE).is_file():
        return _of_baseline(folder)
    if is_comparison(folder):
        found: Curves = {}
        for arm in arms_of(folder):
            for path in runs_of(folder / arm):
                _add(found, curves_of_run(path, arm))
        return found
    if (folder / JOURNAL).is_file() and (folder / RESULTS).is_file():
        return curves_of_run(folder, folder.resolve().name)
    raise UserError(
        f"--beside {str(folder)!r} has no {BASELINE}, no {TABLE}, and no run with {RESULTS}; valid: the folder of a "
        "handeye baseline, compare or improve"
    )


def is_comparison(folder: Path) -> bool:
    """Whether the folder is one of `handeye compare`: no run itself, but with finished runs of arms in it."""
    return not (folder / JOURNAL).is_file() and ((folder / TABLE).is_file() or bool(arms_of(folder)))


def arms_of(folder: Path) -> list[str]:
    """The arms with runs that have results, in the order of the table where there is one."""
    known = mapping(folder / TABLE).get("arms", {}) if (folder / TABLE).is_file() else ()
    found = sorted(path.name for path in folder.glob("*") if any((run / RESULTS).is_file() for run in runs_of(path)))
    return [*(arm for arm in known if arm in found), *(arm for arm in found if arm not in known)]


def runs_of(arm: Path) -> list[Path]:
    """The folders of an arm's runs, by their seeds."""
    found = (path for path in arm.glob("seed_*") if path.name[5:].isdigit())
    return sorted(found, key=lambda path: int(path.name[5:]))


def curves_of_run(path: Path, name: str) -> Curves:
    """Of a run with results: each held-out task before and after, and the mean over these tasks with practice by
    round."""
    results = mapping(path / RESULTS)
    steps = train_steps((done.round, done.stage, done.spent) for done in Journal(path).done)
    last = max(steps.values(), default=0)
    found: Curves = {}
    for task, row in results.get("heldout", {}).items():
        found[task] = [Curve(name, ends(row["before"], row["after"], last), [])]
    mean = results.get("heldout_mean", {})
    sides = [None if mean.get(when) is None else {"rate": mean[when]} for when in ("before", "after")]
    sampled = {row["round"]: row["sampled"] for row in results.get("rounds", ()) if "sampled" in row}
    practice = [(steps[number], rate["rate"]) for number, rate in sampled.items() if number in steps]
    return found | {MEAN: [Curve(name, ends(*sides, last), practice)]}


def train_steps(stages: Iterable[tuple[int, str, Mapping[str, int]]]) -> dict[int, int]:
    """Round -> the environment steps of practice and branches up to the end of its practice; -1 -> all of them.

    stages: the round, the name and the spent budget of each.
    """
    total, at = 0, {}
    for number, stage, spent in stages:
        total += spent.get("practice_env_steps", 0) + spent.get("branch_env_steps", 0)
        if stage == "practise":
            at[number] = total
    return at | {-1: total}


def ends(before: Rate | None, after: Rate | None, steps: int) -> list[tuple[int, Rate]]:
    """Held-out success before and after a training of so many steps; without the side that is None."""
    return [(at, rate) for at, rate in ((0, before), (steps, after)) if rate]


def _of_baseline(folder: Path) -> Curves:
    told = mapping(folder / BASELINE)
    try:
        config, result = told["config"], told["result"]
        name = f"{config['algorithm']} from {config['observe']}"
        held = {key: result[key] for key in ("k", "n", "rate", "ci95")}
        curve = Curve(name, [(told["steps"], held)], [tuple(point) for point in told.get("curve", ())])
        return {config["task"]: [curve]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{str(folder / BASELINE)!r} is damaged: {error}; valid: train the baseline again") from error


def _add(found: Curves, more: Curves) -> None:
    for task, curves in more.items():
        found.setdefault(task, []).extend(curves)


def merged(own: Curves, beside: Mapping[Path, Curves]) -> Curves:
    """Task -> its own curves, and those beside them on the same task; without tasks that have one curve alone.

    beside: folder -> its curves. Raises UserError for a folder without a task in common.
    """
    found: Curves = {task: list(curves) for task, curves in own.items()}
    for folder, curves in beside.items():
        common = {task: some for task, some in curves.items() if task in own}
        if not common:
            valid = f"one that measured {', '.join(own)}" if own else "later: nothing is measured yet"
            raise UserError(f"--beside {str(folder)!r} measured {', '.join(curves)}; valid: {valid}")
        _add(found, common)
    return {task: curves for task, curves in found.items() if len(curves) > 1}
