"""A run's folder as its report needs it: what the journal and results.json hold, and the episodes of each store.

What is missing or damaged becomes a line in `absent`; a run of an earlier version has less.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agent.config.optimisers import Method, stores
from agent.organise.episode import Episode
from agent.organise.store import EpisodeStore
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.journal import Journal
from agent.record.run.status import state
from envs.errors import UserError

RESULTS, CONFIG = "results.json", "config.yaml"
STORES = ("episodes", "archived", "relabelled", "gate/incumbent", "gate/candidate")  # of a round, without branches


@dataclass
class Run:
    """What was read. config: as the run was told. rows: round -> what its stages added to its row. episodes: folder of
    a store, relative to the run's -> its episodes. spent: (round, stage, its share of the budget, seconds)."""

    path: Path
    config: dict[str, Any]
    results: dict[str, Any] | None
    rows: dict[int, dict[str, Any]]
    spent: list[tuple[int, str, Mapping[str, int], float]]
    begun: dict[str, Any]
    state: str
    complete: bool
    episodes: dict[str, list[Episode]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def of(self, number: int, *stores: str) -> list[Episode]:
        """The episodes of a round's stores."""
        return [episode for store in stores for episode in self.episodes.get(f"round_{number:03d}/{store}", ())]

    @property
    def methods(self) -> list[Method]:
        """Those of the trainings of each round; of a version without a choice, SFT and DPO."""
        return self.config.get("optimise", ["sft", "dpo"])

    def branches(self, number: int, method: Method | None = None) -> list[Episode]:
        """The branches of a round, of whichever training, or of one method's."""
        return self.of(number, *stores(self.methods, method))

    @property
    def rounds(self) -> list[int]:
        """The rounds that have begun."""
        return sorted(number for number in self.rows if number)


def read(path: Path) -> Run:
    """Raises UserError for a folder that holds neither a run's journal nor its results."""
    results = mapping_if_whole(path / RESULTS)
    if (path / JOURNAL).is_file():
        run = _from_journal(path, results)
    elif results:
        run = _from_results(path, results)
    else:
        raise UserError(f"no run in {str(path)!r} (no {JOURNAL}, no {RESULTS}); valid: the folder of a handeye improve")
    for name in _folders(run):
        episodes = list(EpisodeStore(path / name).undamaged(run.absent.append))
        if episodes:
            run.episodes[name] = episodes
    for name in ("before", "after") if run.complete else ("before",):
        if f"heldout/{name}" not in run.episodes:
            run.absent.append(f"heldout/{name}: no episodes")
    return run


def _from_journal(path: Path, results: dict[str, Any] | None) -> Run:
    journal, where = Journal(path), state(path)
    rows: dict[int, dict[str, Any]] = {}
    for done in journal.done:
        rows.setdefault(done.round, {}).update(done.row)
    spent = [(done.round, done.stage, done.spent, done.wall_s) for done in journal.done]
    begun = {key: journal.begun[key] for key in ("config", "versions", "provenance")}
    return Run(path, begun["config"], results, rows, spent, begun, where.text, where.complete)


def _from_results(path: Path, results: dict[str, Any]) -> Run:
    """A run of a version without a journal."""
    config = results.get("config") or _yaml(path / CONFIG)
    rows = {row["round"]: row for row in results.get("rounds", ())}
    begun = {"config": config, "versions": results.get("versions", {}), "provenance": results.get("provenance", {})}
    text = f"complete: {len(rows)} rounds" if results.get("complete", True) else f"{len(rows)} rounds so far"
    run = Run(path, config, results, rows, [], begun, text, results.get("complete", True))
    run.absent.append(f"{JOURNAL}: an earlier version wrote this run; what each stage took is not known")
    return run


def _folders(run: Run) -> Iterator[str]:
    yield from ("heldout/before", "heldout/after")
    for number in run.rounds:
        yield from (f"round_{number:03d}/{name}" for name in (*STORES, *stores(run.methods)))


def mapping(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises UserError for a file that holds none."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}; valid: a file that handeye wrote") from error
    if not isinstance(values, dict):
        raise UserError(f"{str(path)!r} holds no mapping; valid: a file that handeye wrote")
    return values


def mapping_if_whole(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None where there is none, or it is damaged."""
    try:
        return mapping(path)
    except UserError:
        return None


def _yaml(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) if path.is_file() else {}
