"""`handeye bench`: speed and exactness against a reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

Part = Literal["save", "branch", "decide", "criticise", "practise", "train", "render", "step", "restore", "scale"]


@dataclass(frozen=True)
class Bench:
    """Speed and exactness against a reference, both measured in one process."""

    parts: Positional[tuple[Part, ...]] = ()
    """what to measure; all, if none is named, `scale` only with ray"""
    policy: str = "seed"  # a checkpoint folder
    restores: int = 300  # states restored, of each environment
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output

    def run(self) -> None:
        """Raises UserError for a number that is too small, and where `scale` is asked for without ray."""
        from rich.table import Table

        from agent.collect.cluster.connection import check_engine
        from agent.commands.arguments import at_least
        from agent.commands.outputs import document, emit
        from agent.config import Engine
        from agent.measure.bench import bench
        from agent.optimise.dpo import train_dpo
        from agent.optimise.sft import train_sft
        from agent.record.console import show
        from policies.base import find_policy

        at_least(1, restores=self.restores)
        if "scale" in self.parts:
            check_engine(Engine("ray"))
        out = document(self.json)
        rows = bench(find_policy(self.policy), self.restores, self.parts, {"sft": train_sft, "dpo": train_dpo})
        table = Table("name", "unit", "ours", "reference", "ratio", "what")
        for row in rows:
            numbers = [f"{row[name]:.4g}" for name in ("ours", "reference", "ratio")]
            table.add_row(row["name"], row["unit"], *numbers, row["what"])
        show(table)
        emit(out, rows)
