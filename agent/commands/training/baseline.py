"""`handeye baseline`: Stable-Baselines3 on a task."""

from dataclasses import dataclass, fields
from pathlib import Path

from agent import config


@dataclass(frozen=True)
class Baseline(config.Baseline):
    """Train Stable-Baselines3 on a task and measure it on held-out seeds, the same episodes as `eval`."""

    out: Path = Path("runs/baseline")  # the folder for policy.zip and baseline.json
    overwrite: bool = False  # replace the folder if it exists

    def run(self) -> None:
        """Raises UserError, before anything is trained, for settings that the task or the algorithm does not take."""
        values = {field.name: getattr(self, field.name) for field in fields(config.Baseline)}
        from agent.commands.arguments import check_practised
        from agent.commands.outputs import folder
        from agent.commands.probing import probe
        from agent.measure.baseline import baseline
        from agent.record.console import console
        from agent.record.tables import percent
        from envs import registry
        from envs.validation import checked

        settings = checked(config.Baseline, values)
        check_practised((settings.task,))
        out = folder(self.out, needs_mb=100)
        probe(registry.wordless(settings.task))
        result = baseline(settings, out, self.overwrite)["result"]
        console.print(f"{settings.task}: {percent(result)} of {result['n']} episodes")
        console.print(f"policy   {out / 'policy.zip'}", soft_wrap=True)
