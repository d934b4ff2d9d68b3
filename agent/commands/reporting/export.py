"""`handeye export`: a run's episodes, or what it was trained on, as a dataset of another program."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from agent.record.export.choices import Format, Only
from envs.errors import UserError


@dataclass(frozen=True)
class Export:
    """A run's episodes, or what it was trained on, as a dataset of another program, with a dataset card.

    A broken episode is left out: it is no failure."""

    run_folder: Positional[Path]  # a run's folder, or one that `handeye rollout` wrote
    out: Positional[Path]  # the folder to make
    format: Format = "lerobot"
    """lerobot: LeRobotDataset v3.0. minari: a Minari dataset. parquet: preference pairs and rows of examples, in the
    columns of trl"""
    only: tuple[Only, ...] = ()
    """of which stages, and whether successes alone; practice unless a stage is named"""
    round: int | None = None  # of this round alone
    task: tuple[str, ...] = ()  # of these tasks alone
    instruction: tuple[str, ...] = ()  # of these instructions alone, for a policy that reads none
    video: bool = False  # lerobot: pictures as H.264 instead of lossless PNGs
    fps: float | None = None  # decisions per second, where the environment does not say it
    licence: str | None = None  # of the dataset, as the hub names it, such as cc-by-4.0
    overwrite: bool = False  # replace the folder if it is an export
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output

    def run(self) -> None:
        """Raises UserError, before anything is written, for a folder or an option that cannot work."""
        from agent.commands.exporting import export_episodes, export_training
        from agent.commands.outputs import document, emit, folder
        from agent.record.console import say
        from agent.record.export.folder import check
        from agent.record.export.source import Wanted

        self._check()
        check(self.out, self.overwrite)
        out, said = folder(self.out), document(self.json)
        named = (self._command(), self.licence)
        if self.format == "parquet":
            written = export_training(self.run_folder, out, self.round, *named)
        else:
            wanted = Wanted(self.only, self.round, self.task, self.instruction)
            written = export_episodes(self.run_folder, out, self.format, wanted, self.fps, self.video, *named)
        broken = written.get("broken", 0)
        words = ", ".join(f"{n:,} {what}" for what, n in written.items() if what != "broken")
        say(f"{words}{f'; {broken:,} broken ones left out' if broken else ''}: {self.out}")
        emit(said, {"out": str(out), "format": self.format, **written})

    def _check(self) -> None:
        if self.format == "parquet":
            given = {
                "only": self.only,
                "video": self.video,
                "fps": self.fps,
                "task": self.task,
                "instruction": self.instruction,
            }
            for name, value in given.items():
                if value:
                    raise UserError(f"--{name} with --format parquet, of what a run was trained on; valid: without it")
        if self.video and self.format != "lerobot":
            raise UserError(f"--video with --format {self.format}; valid: --format lerobot")
        if self.fps is not None and not self.fps > 0:
            raise UserError(f"--fps {self.fps}; valid: above 0")

    def _command(self) -> str:
        """As typed, without the folders of this machine."""
        words = ["handeye", "export", self.run_folder.name, self.out.name, "--format", self.format]
        for name in ("only", "task", "instruction"):
            if getattr(self, name):
                words += [f"--{name}", *getattr(self, name)]
        for name in ("round", "fps", "licence"):
            if getattr(self, name) is not None:
                words += [f"--{name}", str(getattr(self, name))]
        return shlex.join(words + ["--video"] * self.video)
