"""`handeye pretrain`: the seed policy."""

import shlex
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path

from tyro.conf import Fixed, Suppress

from agent import config
from envs.errors import UserError


@dataclass(frozen=True)
class Pretrain:
    """A seed policy from random weights or any model, by SFT on captions, demonstrations and its answers' critiques."""

    config: Path  # a YAML file, such as configs/pretrain.yaml
    resume: bool = False  # go on with what was interrupted, which ends as if it had not been
    overwrite: bool = False  # replace the checkpoint folder if it exists
    trust: bool = False  # load experts' .zip files that do not ship, which can run code
    json: Path | None = None  # a file to write what pretrain.json holds to; without a name, the standard output
    overrides: Suppress[Fixed[tuple[str, ...]]] = ()  # the config's `--dotted.key value`, as typed

    def run(self) -> None:
        """Raises UserError, before anything is trained, for a config that cannot run here."""
        if self.resume and self.overwrite:
            raise UserError("--resume goes on with what --overwrite deletes; valid: one of them")
        settings = config.load(self.config, self.overrides, config.Pretrain)
        from agent.commands.outputs import document, emit, folder, telling_how_to_go_on
        from agent.commands.probing import probe_apart
        from agent.record.ownership import check_replaceable

        settings = replace(settings, out=str(folder(settings.out, needs_mb=100)))
        check_replaceable(Path(settings.out), self.overwrite, "checkpoint")
        said = document(self.json)
        probe_apart(settings.tasks)  # before torch is imported
        import torch

        from agent.commands.arguments import vouch
        from agent.commands.checks import check_pretrain
        from agent.optimise.pretrain import pretrain
        from agent.optimise.unfinished import has_begun
        from agent.record.console import show
        from agent.record.provenance import declared_tasks

        if self.trust:
            vouch(*settings.experts.values(), tasks=settings.tasks)
        check_pretrain(settings)
        before = declared_tasks(settings.tasks)
        _prepare(settings)
        if declared_tasks(settings.tasks) != before:
            check_pretrain(settings)  # with the words that were measured
        torch.set_num_threads(settings.threads)
        with telling_how_to_go_on(lambda: self._resumed() if has_begun(Path(settings.out)) else ""):
            out = pretrain(settings, self.overwrite, self.resume)
        if said is not None:
            emit(said, loads((out / "pretrain.json").read_text()))
        show(f"policy   {out}")

    def _resumed(self) -> str:
        return shlex.join(["handeye", "pretrain", str(self.config), *self.overrides, "--resume"])


def _prepare(settings: config.Pretrain) -> None:
    """Train the experts that declared tasks ask for, and measure the levels, repeat and ranges that files lack."""
    from agent.commands.setup.sees import measure_missing
    from agent.measure.baseline import train_expert
    from agent.measure.ceiling import settle
    from envs import registry

    for name in settings.tasks:
        expert = settings.experts.get(name)
        if expert is None:
            train_expert(registry.wordless(name))
        settle(name, expert)
        measure_missing(name, expert)
