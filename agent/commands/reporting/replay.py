"""`handeye replay`: replay certificates of stored episodes."""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from envs.errors import UserError


@dataclass(frozen=True)
class Replay:
    """Simulate stored episodes again: each must match its record, bit for bit. Exit status 1 where one does not.

    Those of a task with `exact: false` in its file are skipped."""

    folder: Path  # a run's folder, or any folder with episodes
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output

    def run(self) -> None:
        """Raises UserError for a folder without episodes."""
        from agent.commands.outputs import document, emit
        from agent.organise.foreign import beside_parts, is_part, notice
        from agent.record.console import say, show
        from agent.record.run.underway import FOLDER as UNDER_WAY
        from agent.record.rundir import QUARANTINE

        out = document(self.json)
        aside = (UNDER_WAY, QUARANTINE)  # not done yet, and damaged
        found = sorted(self.folder.rglob("*.parquet"))
        found = [path for path in found if not {*path.relative_to(self.folder).parts} & {*aside}]
        parts = list(filter(is_part, found))
        for path in beside_parts(found):
            say(notice(path))
        if not parts:
            raise UserError(
                f"no episodes in {str(self.folder)!r}; valid: a run's folder, or one from `handeye rollout`"
            )
        certified, flaws, skipped = _certify(self.folder, parts)
        for flaw in flaws:
            show(flaw)
        for task, n in skipped.items():
            say(f"{n} episodes of {task!r} skipped: exact is false in its file")
        show(f"{certified} episodes certified, {len(flaws)} left out")
        emit(out, {"certified": certified, "flaws": flaws, "skipped": dict(skipped)})
        if flaws:
            sys.exit(1)


def _certify(folder: Path, parts: list[Path]) -> tuple[int, list[str], Counter[str]]:
    """The number of certified episodes in the Parquet files, the flaw of every other episode or unreadable file, and
    how many were skipped of each task whose episodes do not happen again."""
    from agent.collect.verify import Verifier, is_exact
    from agent.commands.probing import probe
    from agent.organise.store import read
    from agent.record.console import bar
    from envs import registry

    certified, flaws, skipped, probed = 0, [], Counter[str](), set()
    with Verifier() as verifier:
        for part in parts:
            place = part.relative_to(folder)
            try:
                episodes = list(read(part))
            except UserError as error:
                flaws.append(str(error))
                continue
            with bar(str(place.parent), len(episodes)) as progress:
                for e in progress.track(episodes):
                    if not is_exact(e.task):
                        skipped[e.task] += 1
                        continue
                    if e.task not in probed:  # a machine that cannot play it is no flaw of the episode
                        probe(registry.task(e.task))
                        probed.add(e.task)
                    flaw = verifier.flaw(e)
                    certified += not flaw
                    if flaw:
                        flaws.append(f"{place}: {e.task}, seed {e.seed}, attempt {e.attempt}: {flaw}")
    return certified, flaws, skipped
