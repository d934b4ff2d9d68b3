"""The folder of a stage that is under way: it survives a crash, and is deleted once the stage is in the journal."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from agent.organise import durable, foreign
from agent.record.run.journal import hashes

FOLDER = ".partial"


class UnderWay:
    """Holds what a stage has so far, in `.partial/` of a run's folder."""

    def __init__(self, run: Path, round: int, stage: str):
        self._run, self.folder = run, run / FOLDER / f"{round:03d} {stage}"
        self._outputs, self._rollouts = list[str](), 0

    def output(self, place: Path) -> Path:
        """Where to write what will be at `place`, a folder in the run's folder, once the stage is done."""
        relative = place.relative_to(self._run).as_posix()
        path = self.folder / "outputs" / relative
        if relative not in self._outputs:
            self._outputs.append(relative)
            shutil.rmtree(path, ignore_errors=True)  # half-written before a crash
            path.mkdir(parents=True)
        return path

    def rollout(self, title: str) -> Path:
        """The folder of the stage's next rollout: a stage that is done again rolls out the same in the same order."""
        self._rollouts += 1
        return self.folder / "rollouts" / f"{self._rollouts:03d} {title.replace('/', '_')}"

    def written(self) -> dict[str, dict[str, str]]:
        """Each output that holds anything, relative to the run's folder -> path of each file in it -> SHA-256."""
        found = {relative: self._hashes(relative) for relative in self._outputs}
        return {relative: files for relative, files in found.items() if files}

    def _hashes(self, relative: str) -> dict[str, str]:
        """Without files of other programs, which come and go."""
        found = hashes(self.folder / "outputs" / relative)
        return {name: sha256 for name, sha256 in found.items() if not foreign.is_left(Path(name))}

    def publish(self, outputs: Iterable[str]) -> None:
        """Put these outputs, named relative to the run's folder, in their places."""
        for relative in outputs:
            durable.publish(self.folder / "outputs" / relative, self._run / relative)

    def discard(self) -> None:
        """Delete the folder: the stage is recorded."""
        shutil.rmtree(self.folder, ignore_errors=True)
