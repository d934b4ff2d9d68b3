"""Going on with a run: what has to be as it was when the run began, and what is damaged and done again."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.organise import durable, foreign
from agent.record.provenance import at_beginning, source, versions
from agent.record.run.journal import Done, Journal, damage
from agent.record.run.underway import UnderWay
from agent.record.rundir import RunDir, changes, plain
from envs.errors import UserError
from policies.backends.server.address import is_server, without_place

MAY_CHANGE = ("out", "rounds", "workers", "n_envs", "engine", "limits", "tracking")  # results do not depend on these


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what may change: what a run's results depend on. Of a server, where it is may change."""
    kept = {key: value for key, value in config.items() if key not in MAY_CHANGE}
    return kept | {"policy": without_place(kept["policy"])} if is_server(kept.get("policy", "")) else kept


def check_same(path: Path, journal: Journal, config: Config, policy: Path) -> None:
    """Raises UserError where a run would not go on as it began: another config, seed policy or declared task.

    path, journal: the run's. policy: the seed policy. What is in MAY_CHANGE may differ, but no round that has begun is
    left out.
    """
    name, begun = str(path), journal.begun
    if other := changes(decisive(begun["config"]), decisive(plain(asdict(config)))):
        raise UserError(f"{name!r} began with another config: {other}; valid: as it was, or another --out")
    begun_rounds = max((done.round for done in journal.done), default=0)
    if config.rounds < begun_rounds:
        raise UserError(f"rounds = {config.rounds}, but {name!r} is in round {begun_rounds}; valid: that or more")
    then, here = begun["provenance"], at_beginning(config, policy)
    if here["seed_policy"] != then["seed_policy"]:
        raise UserError(f"policy {config.policy!r} has other weights than when {name!r} began; valid: as it was")
    for task, declared in here["tasks"].items():
        if then["tasks"].get(task) != declared:
            raise UserError(f"task {task!r} is declared otherwise than when {name!r} began; valid: as it was")


def other_versions(journal: Journal) -> str:
    """The packages and the commit that are not those of the run's beginning; empty where all are."""
    begun = journal.begun
    was = begun["versions"] | {"commit": begun["provenance"]["source"]["commit"]}
    now = versions() | {"commit": source()["commit"]}
    return ", ".join(f"{name} {now.get(name)} (was {was[name]})" for name in was if now.get(name) != was[name])


def mend(run: RunDir) -> list[str]:
    """Find what is damaged and set it aside, so that its stages are done again; returns a line for each.

    A file that was added is set aside where it could be read as an output of its stage, and else left alone.

    A stage is done again from the folders of those before it, which gives the same bytes (`agent.stages.stage`).
    """
    journal, lines = run.journal, []
    if journal.lost:
        lines.append(f"{str(journal.path)!r} has {journal.lost} damaged lines; their stages are done again")
    journal.mend()
    (journal.path.with_name(journal.path.name + durable.PARTIAL)).unlink(missing_ok=True)
    for done in journal.done:  # recorded just before the crash
        UnderWay(run.path, done.round, done.stage).discard()
    latest = {output: done for done in journal.done for output in done.outputs}
    for done in journal.done:
        damaged, added = damage(run.path, replace(done, outputs=_own(done, latest)))
        for output, what in damaged.items():
            again = f"round {done.round}'s {done.stage} is done again"
            lines.append(f"{what}: {_set_aside(run, run.path / output)}; {again}")
            journal.again.append(done)
        for path in (path for path in added if path.exists()):
            readable = foreign.could_be_read(path)  # it would be taken for an output of the stage
            lines.append(f"{str(path)!r} was added: {_set_aside(run, path)}" if readable else foreign.notice(path))
    return lines


def _own(done: Done, latest: Mapping[str, Done]) -> dict[str, dict[str, str]]:
    """The outputs of a stage that no later stage wrote again."""
    return {output: files for output, files in done.outputs.items() if latest[output] is done}


def _set_aside(run: RunDir, path: Path) -> str:
    """Move a file or folder of the run into its quarantine; returns in words what was done."""
    if not path.exists():
        return "all of it is gone"
    name = path.relative_to(run.path).as_posix().replace("/", "_")
    return f"set aside as {str(durable.set_aside(path, run.quarantine, name))!r}"
