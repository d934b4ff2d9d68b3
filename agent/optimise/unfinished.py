"""A pretraining under way, in `<out>.tmp`: what it was told, the policy after the newest stage, and checkpoints of the
training at hand. An interrupted one goes on from there, to the weights of one that was not."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from agent.optimise.checkpoints import WHOLE
from agent.organise import durable
from agent.record import ownership
from agent.record.provenance import weights_sha256
from agent.record.report.reading import mapping_if_whole
from agent.record.rundir import changes, plain
from envs.errors import UserError
from policies.backends.huggingface import HFBackend

FILE = "unfinished.json"  # what it was told, and of each finished stage what was measured and the hash of its weights
TRAINING = ".training"  # the checkpoints of the training at hand; no name of a stage
MAY_CHANGE = ("out", "threads", "tracking")  # keys of the config that decide no weights


class Unfinished:
    """The folder beside `out`. told: what decides the weights: `config`, `versions`, `provenance`."""

    def __init__(self, out: Path, told: Mapping[str, Any], resume: bool, overwrite: bool):
        """Raises UserError for a folder that is not ours, for one to go on with that was told something else, that is
        damaged or not there, and for one with a finished stage or a checkpoint that is neither resumed nor overwritten.
        """
        self._out, self._folder = out, ownership.scratch(out)
        self.training = self._folder / TRAINING
        self._told = plain(dict(told) | {"config": {k: v for k, v in told["config"].items() if k not in MAY_CHANGE}})
        self.stages: dict[str, dict[str, Any]] = {}
        self._is_resumed = resume
        if resume:
            self._take_up()
        elif has_begun(out) and not overwrite:
            what = f"{str(self._folder)!r} is a pretraining that was interrupted"
            raise UserError(f"{what}; valid: --resume, or --overwrite, which begins anew")

    def __enter__(self) -> Self:
        if not self._is_resumed:
            ownership.begin(self._folder, "checkpoint")
            self._record()
        return self

    def __exit__(self, *error: object) -> None:
        """Leaves nothing where there is nothing to go on from."""
        if self._folder.exists() and not has_begun(self._out):
            ownership.remove(self._folder)

    @property
    def newest(self) -> Path | None:
        """The policy's folder after the last finished stage."""
        return self._folder / [*self.stages][-1] if self.stages else None

    def keep(self, stage: str, backend: HFBackend, measured: Mapping[str, Any]) -> None:
        """Save the policy after a stage in the place of the one before. Raises UserError where the disk is full."""
        before, partial = self.newest, self._folder / f"{stage}{durable.PARTIAL}"
        with durable.named_errors(self._folder):
            for path in (partial, self._folder / stage):  # of a try that ended before it was recorded
                shutil.rmtree(path, ignore_errors=True)
            ownership.begin(partial, "checkpoint")
            backend.save(partial)
            durable.publish(partial, self._folder / stage)
            self.stages[stage] = dict(measured) | {"sha256": weights_sha256(self._folder / stage)}
            self._record()
            for path in (self.training, before):
                if path:
                    shutil.rmtree(path, ignore_errors=True)

    def publish(self, made: Mapping[str, Any]) -> None:
        """Put the last policy in its place, with `made` as its pretrain.json."""
        (self.newest / "pretrain.json").write_text(json.dumps(made, indent=1, default=str) + "\n")
        ownership.replace(self.newest, self._out)
        ownership.remove(self._folder)

    def _record(self) -> None:
        record = self._told | {"stages": self.stages}
        durable.write(self._folder / FILE, json.dumps(record, indent=1, default=str) + "\n")

    def _take_up(self) -> None:
        found = mapping_if_whole(self._folder / FILE) or {}
        self.stages = found.pop("stages", {})
        if not found:
            raise UserError(f"--resume: {str(self._folder)!r} is no interrupted pretraining; valid: without --resume")
        if other := changes(found, json.loads(json.dumps(self._told, default=str))):
            raise UserError(f"{str(self._folder)!r} began otherwise: {other}; valid: as it was, or --overwrite")
        if self.newest and weights_sha256(self.newest) != self.stages[self.newest.name]["sha256"]:
            raise UserError(f"{str(self.newest)!r} is damaged; valid: --overwrite, which begins anew")


def has_begun(out: Path) -> bool:
    """Whether there is something to go on from: a finished stage, or a checkpoint of a training."""
    folder = ownership.scratch(out)
    told = mapping_if_whole(folder / FILE) or {}
    return bool(told.get("stages")) or any((folder / TRAINING).glob(f"{WHOLE}*"))
