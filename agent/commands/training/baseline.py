"""`handeye baseline`: Stable-Baselines3 on a task."""

from dataclasses import dataclass, fields
from pathlib import Path

from agent import config


@dataclass(frozen=True)
class Baseline(config.Baseline):
    """Train Stable-Baselines3 on a task and measure it on held-out seeds, the same episodes as `eval`."""

    out: Path = Path("runs/baseline")  # the folder for policy.zip and baseline.json
    overwrite: bool = False  # replace the folder if it exists
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output

    def run(self) -> None:
        """Raises UserError, before anything is trained, for settings that the task or the algorithm does not take."""
        values = {field.name: getattr(self, field.name) for field in fields(config.Baseline)}
        from agent.commands.arguments import are_foreign, check_practised
        from agent.commands.guarding import guarded
        from agent.commands.outputs import document, folder
        from envs.validation import checked

        settings = checked(config.Baseline, values)
        check_practised((settings.task,))
        if settings.tracking.mode != "disabled" or settings.tracking.sinks != ("wandb",):
            from agent.commands.checks import check_login
            from agent.record.tracking.sinks import check_installed

            check_installed(settings.tracking)
            check_login(settings.tracking)
        out, said = folder(self.out, needs_mb=100), document(self.json)
        if are_foreign((settings.task,)):
            guarded(f"{settings.algorithm} was trained on {settings.task!r}", lambda: self._train(settings, out, said))
        else:
            self._train(settings, out, said)

    def _train(self, settings: config.Baseline, out: Path, said: Path | None) -> None:
        from agent.commands.outputs import emit
        from agent.commands.probing import probe
        from agent.measure.baseline import baseline
        from agent.record.console import show
        from agent.record.tables import percent
        from envs import registry

        probe(registry.wordless(settings.task))
        record = baseline(settings, out, self.overwrite)
        result = record["result"]
        show(f"{settings.task}: {percent(result)} of {result['n']} episodes")
        show(f"policy   {out / 'policy.zip'}")
        emit(said, record)
