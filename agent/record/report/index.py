"""A page that lists the runs in a folder, newest first, and the comparisons, baselines and other pages there."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from agent.organise import durable
from agent.record.report.beside import BASELINE, TABLE, arms_of
from agent.record.report.page import MARK_JSON, html
from agent.record.report.reading import RESULTS, mapping_if_whole
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.status import state
from agent.record.tables import percent
from envs.errors import UserError

NAME = "index.html"
MEASURED = MARK_JSON + b'"kind": "measured"'  # how the JSON of an evaluation or an audit begins


@dataclass(frozen=True)
class Line:
    """A run. changed: when its journal or its results were last written, [s] since 1970. page: the address of its
    report, relative to the folder's; empty where there is none."""

    run: str
    state: str
    tasks: list[str]
    before: float | None
    after: float | None
    gain: float | None
    ci95: list[float] | None
    steps: int
    changed: float
    page: str

    @property
    def date(self) -> str:
        return datetime.fromtimestamp(self.changed, UTC).strftime("%Y-%m-%d %H:%M")


@dataclass(frozen=True)
class Other:
    """A comparison, a baseline, or the page of an evaluation or an audit. what: its result in words. changed: when it
    was last written, [s] since 1970. page: as a Line's."""

    name: str
    kind: str
    what: str
    changed: float
    page: str

    @property
    def date(self) -> str:
        return Line.date.fget(self)


def write_index(folder: Path) -> Path:
    """Write index.html into the folder; returns its path. Raises UserError for a folder without runs, and where the
    disk is full or fails."""
    if not folder.is_dir():
        raise UserError(f"--index {str(folder)!r} is no folder; valid: a folder with runs, such as runs")
    lines = sorted(_lines(folder), key=lambda line: -line.changed)
    others = sorted(_others(folder), key=lambda other: -other.changed)
    if not lines and not others:
        raise UserError(f"no run in {str(folder)!r}; valid: a folder with runs, such as runs")
    out = folder / NAME
    durable.write(out, html("index.html", lines=lines, others=others, folder=folder.resolve().name))
    return out


def _lines(folder: Path) -> Iterator[Line]:
    """The runs in the folder and in folders in it, such as the arms and seeds of a compare."""
    found = {path.parent for name in (JOURNAL, RESULTS) for path in folder.glob(f"**/{name}")}
    for path in sorted(found):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path != folder and not hidden and (line := _line(folder, path)):
            yield line


def _line(folder: Path, path: Path) -> Line | None:
    """None for a folder whose results are none of `handeye improve`."""
    results = mapping_if_whole(path / RESULTS) or {}
    try:
        words = state(path).text
    except UserError as error:
        words = "an earlier version wrote it" if "rounds" in results else str(error)
    if not (path / JOURNAL).is_file() and "rounds" not in results:
        return None
    mean, budget = results.get("heldout_mean") or {}, results.get("budget") or {}
    changed = max(file.stat().st_mtime for name in (JOURNAL, RESULTS) if (file := path / name).is_file())
    relative = path.relative_to(folder)
    return Line(
        run=relative.as_posix(),
        state=words,
        tasks=list((results.get("config") or {}).get("tasks", ())),
        before=mean.get("before"),
        after=mean.get("after"),
        gain=mean.get("gain_points"),
        ci95=mean.get("ci95"),
        steps=budget.get("env_steps", 0),
        changed=changed,
        page=quote(f"{relative.as_posix()}/report.html") if (path / "report.html").is_file() else "",
    )


def _others(folder: Path) -> Iterator[Other]:
    """What other commands left in the folder and in folders in it."""
    for path in sorted(folder.glob("**/*.json")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if path.name == TABLE and (arms := arms_of(path.parent)):
            beside = path.parent / "report.html"
            page = quote((relative.parent / beside.name).as_posix()) if beside.is_file() else ""
            what = f"arms {', '.join(arms)}, against {(mapping_if_whole(path) or {}).get('against', '-')}"
            yield Other(relative.parent.as_posix(), "comparison", what, path.stat().st_mtime, page)
        elif path.name == BASELINE and "result" in (told := mapping_if_whole(path) or {}):
            trained = f"{told['config']['algorithm']} on {told['config']['task']}"
            what = f"{trained}: {percent(told['result'])} after {told['steps']:,} steps"
            yield Other(relative.parent.as_posix(), "baseline", what, path.stat().st_mtime, "")
        elif path.with_suffix(".html").is_file() and _begins(path, MEASURED):
            page = relative.with_suffix(".html").as_posix()
            yield Other(page, "evaluation or audit", "-", path.stat().st_mtime, quote(page))


def _begins(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark
