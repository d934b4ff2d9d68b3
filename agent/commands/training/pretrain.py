"""`handeye pretrain`: the seed policy."""

from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Fixed, Suppress

from agent import config


@dataclass(frozen=True)
class Pretrain:
    """A seed policy from random weights or any model, by SFT on captions, demonstrations and its answers' critiques."""

    config: Path  # a YAML file, such as configs/pretrain.yaml
    overwrite: bool = False  # replace the checkpoint folder if it exists
    trust: bool = False  # load experts' .zip files that do not ship, which can run code
    overrides: Suppress[Fixed[tuple[str, ...]]] = ()  # the config's `--dotted.key value`, as typed

    def run(self) -> None:
        """Raises UserError, before anything is trained, for a config that cannot run here."""
        settings = config.load(self.config, self.overrides, config.Pretrain)
        from agent.commands.outputs import folder

        settings = replace(settings, out=str(folder(settings.out, needs_mb=100)))
        import torch

        from agent.commands.arguments import vouch
        from agent.commands.checks import check_pretrain
        from agent.commands.setup.sees import measure_missing
        from agent.measure.baseline import train_expert
        from agent.measure.ceiling import settle
        from agent.optimise.pretrain import pretrain
        from envs import registry

        if self.trust:
            vouch(*settings.experts.values(), tasks=settings.tasks)
        check_pretrain(settings)
        for name in settings.tasks:
            if name not in settings.experts:
                train_expert(registry.wordless(name))
                settle(name)
            measure_missing(name, settings.experts.get(name))
        torch.set_num_threads(settings.threads)
        print(f"policy   {pretrain(settings, self.overwrite)}")
