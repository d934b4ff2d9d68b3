"""What a run says of itself: a table after each round, before and after at the end."""

import platform
from importlib.metadata import version
from typing import Any

from rich.table import Table

from agent.progress import console
from agent.rundir import RunDir

PACKAGES = ("handeye", "torch", "transformers", "trl", "gymnasium", "mujoco", "xgrammar", "numpy")


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def percent(rate: dict[str, Any]) -> str:
    """A RATE of results.json as `45.0 % [38.2, 52.0]`."""
    low, high = rate["ci95"]
    return f"{100 * rate['rate']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


class Report:
    """Prints a run's tables."""

    def __init__(self, run: RunDir):
        self.run, self.rounds = run, []

    def round(self, row: dict[str, Any]) -> None:
        """All rounds so far."""
        self.rounds.append(row)
        table = Table(title="rounds: success in practice is sampled, at the gate greedy")
        for name in ("round", "practice", "examples", "pairs", "gate before", "gate after", "p", "AUROC", "accepted"):
            table.add_column(name, justify="right")
        for r in self.rounds:
            table.add_row(
                str(r["round"]),
                percent(r["sampled"]),
                str(r["sft_examples"]),
                str(r["pairs"]),
                percent(r["gate"]["before"]),
                percent(r["gate"]["after"]),
                f"{r['gate']['p_value']:.3f}",
                f"{r['critic']['auroc']:.2f}",
                "yes" if r["accepted"] else "no",
            )
        console.print(table)

    def end(self, results: dict[str, Any]) -> None:
        """Before and after on held-out episodes, and where everything lies."""
        table = Table(title="held-out success, same episodes before and after")
        for name in ("task", "before", "after", "gain [points]", "p"):
            table.add_column(name, justify="right")
        for task, row in results["heldout"].items():
            low, high = row["gain"]["ci95"]
            gain = f"{row['gain']['points']:+.1f} [{low:+.1f}, {high:+.1f}]"
            table.add_row(task, percent(row["before"]), percent(row["after"]), gain, f"{row['gain']['p_value']:.2g}")
        mean = results["heldout_mean"]
        low, high = mean["ci95"]
        table.add_row(
            "mean",
            f"{100 * mean['before']:.1f} %",
            f"{100 * mean['after']:.1f} %",
            f"{mean['gain_points']:+.1f} [{low:+.1f}, {high:+.1f}]",
            "",
            style="bold",
        )
        console.print(table)
        console.print(f"run      {self.run.path}", f"policy   {results['policy']}", sep="\n", soft_wrap=True)
        for path in sorted(self.run.path.glob("round_*/videos/*.mp4")):
            console.print(f"video    {path}", soft_wrap=True)
