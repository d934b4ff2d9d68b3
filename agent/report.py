"""What a run says of itself: a table after each round, before and after at the end."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from rich import box
from rich.table import Table

from agent.progress import console
from agent.rundir import RunDir

PACKAGES = ("handeye", "torch", "transformers", "trl", "gymnasium", "mujoco", "xgrammar", "numpy")


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def percent(rate: dict[str, Any]) -> str:
    """A RATE of results.json as `45 % [38, 52]`."""
    low, high = rate["ci95"]
    return f"{100 * rate['rate']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def points(gain: dict[str, Any]) -> str:
    """A gain of results.json as `+16 [+8, +24]`."""
    low, high = gain["ci95"]
    return f"{gain['points']:+.0f} [{low:+.0f}, {high:+.0f}]"


class Report:
    """Prints a run's tables."""

    def __init__(self, run: RunDir):
        self.run, self.rounds = run, []

    def round(self, row: dict[str, Any]) -> None:
        """All rounds so far."""
        self.rounds.append(row)
        table = _table(
            "rounds: success in practice is sampled, at the gate greedy",
            ("round", "practice", "rows", "pairs", "gate\nbefore", "gate\nafter", "p", "AUROC", "passes"),
        )
        for r in self.rounds:
            table.add_row(
                str(r["round"]),
                percent(r["sampled"]).replace("% ", "%\n"),
                str(r["sft_examples"]),
                str(r["pairs"]),
                percent(r["gate"]["before"]).replace("% ", "%\n"),
                percent(r["gate"]["after"]).replace("% ", "%\n"),
                f"{r['gate']['p_value']:.2g}",
                f"{r['critic']['auroc']:.2f}",
                "yes" if r["accepted"] else "no",
            )
        console.print(table)

    def end(self, results: dict[str, Any]) -> None:
        """Before and after on held-out episodes, and where everything lies."""
        table = _table(
            "held-out success, same episodes before and after", ("task", "before", "after", "gain in points", "p")
        )
        for task, row in results["heldout"].items():
            p_value = f"{row['gain']['p_value']:.2g}"
            table.add_row(task, percent(row["before"]), percent(row["after"]), points(row["gain"]), p_value)
        mean = results["heldout_mean"]
        gain = points({"points": mean["gain_points"], "ci95": mean["ci95"]})
        table.add_row("mean", f"{100 * mean['before']:.0f} %", f"{100 * mean['after']:.0f} %", gain, "", style="bold")
        console.print(table)
        console.print(f"run      {self.run.path}", f"policy   {results['policy']}", sep="\n", soft_wrap=True)
        for path in sorted(self.run.path.glob("round_*/videos/*.mp4")):
            console.print(f"video    {path}", soft_wrap=True)


def _table(title: str, columns: Sequence[str]) -> Table:
    """Narrow enough for 80 characters a line."""
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="right")
    return table
