"""The page of a report: one HTML file that needs neither a network nor a server, and its JSON twin.

A run, a comparison, and an evaluation or an audit have a template each, made of the same parts.

What is long is embedded where the browser does not parse it: frames as one WebP image an episode, steps as gzipped JSON
for some episodes at a time, both decoded when an episode is opened. So 10,000 episodes still open.

Whatever a model or a dataset wrote is text: jinja2 escapes it, the script sets it as text content, and the page's
content security policy runs no script but its own.
"""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent.organise import durable
from agent.organise.episode import Episode
from agent.record.report import charts
from agent.record.report.contents import Comparison, Contents, Measured, Played, Score, Verdict
from agent.record.report.sprites import Sprite, sprites
from agent.record.rundir import plain
from agent.record.tables import percent, points
from envs.errors import UserError
from policies.action_codec import action_of, thought_of

FRAMES_MB = 12.0  # of WebP, before base64, which takes a third more
BLOCK = 64  # episodes of a block of steps
NONE = "-"  # for a number that is not there
LIVE_S = 10  # between two looks of a live page for a newer one
MARK_HTML, MARK_JSON = b'<meta name="generator" content="handeye report">', b'{"report": 1, '
TEXTS = ("store", "policy", "task", "ending", "error", "reason", "certificate", "state")  # of an Entry
OTHERS = ("seed", "attempt", "success", "steps", "reward", "branched_at", "verdict")
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Live:
    """A page of a run that goes on, which loads itself again every `every_s` seconds until the run is complete."""

    every_s: int = LIVE_S


def is_ours(path: Path) -> bool:
    """Whether a file begins as a page or as its JSON twin; an empty one does."""
    with path.open("rb") as file:
        begins = file.read(4096)
    return not begins or begins.startswith(MARK_JSON) or MARK_HTML in begins


def write(
    contents: Played, episodes: Sequence[Episode], out: Path, frames_mb: float = FRAMES_MB, live: Live | None = None
) -> None:
    """Write the page, and `contents` as JSON beside it, each whole or not at all.

    episodes: those of `contents.episodes`. Raises UserError where the disk is full or fails.
    """
    shown = list(dict.fromkeys(_by_importance(contents)))
    frames = sprites(((number, episodes[number]) for number in shown), int(frames_mb * 1e6))
    page = _html(contents, episodes, sorted(shown), frames, live if not contents.complete else None)
    for path, text in ((out.with_suffix(".json"), _twin(contents)), (out, page)):
        try:
            durable.write(path, text)
        except UserError:  # a full disk: what was written of it takes room that the run needs
            path.with_name(path.name + durable.PARTIAL).unlink(missing_ok=True)
            raise


def _by_importance(contents: Played) -> Iterator[int]:
    """The episodes that the page shows, those first that keep their frames where the budget is short: regressed ones,
    failures, pairs, then what is left evenly over tasks and comparisons, and imitated episodes."""
    entries = contents.episodes
    both = [[n for n in (row.before, row.after) if n is not None] for row in contents.both]
    regressed = [b for b in both if len(b) == 2 and entries[b[0]].success and not entries[b[1]].success]
    failed = [b for b in both if b and not entries[b[-1]].success]
    for some in (*regressed, *failed, *([p.chosen.episode, p.rejected.episode] for p in contents.pairs)):
        yield from some
    groups: dict[tuple[str, str], list[list[int]]] = {}
    for row, numbers in zip(contents.both, both, strict=True):
        groups.setdefault((row.where, row.task), []).append(numbers)
    for i in range(max(map(len, groups.values()), default=0)):
        for group in groups.values():
            yield from group[i] if i < len(group) else ()
    yield from (each.episode for each in contents.trained)


def _html(
    contents: Played, episodes: Sequence[Episode], shown: Sequence[int], frames: dict[int, Sprite], live: Live | None
) -> str:
    blocks = [shown[i : i + BLOCK] for i in range(0, len(shown), BLOCK)]
    script = (TEMPLATES / "report.js").read_text()
    relabelled = {(each.episode, i): answer for each in contents.trained for i, answer in each.relabelled.items()}
    template, of_kind = KINDS[type(contents)]
    return html(
        template,
        c=contents,
        names=contents.names,
        charts=charts,
        config=yaml.safe_dump(plain(contents.config), sort_keys=False),
        index=_json(_index(contents, blocks, frames, live)),
        blocks=[Markup(_base64(gzip.compress(_steps(block, episodes, relabelled), 6, mtime=0))) for block in blocks],
        frames={number: Markup(_base64(sprite.image)) for number, sprite in frames.items()},
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **of_kind(contents),
    )


def _of_run(c: Contents) -> dict[str, Any]:
    verdict = c.verdict
    return {
        "title": c.run,
        "headline": _headline(verdict),
        "figures": [
            ("gain in points", NONE if verdict.gain is None else points(verdict.gain, verdict.ci95)),
            ("held-out episodes, of each policy", f"{verdict.episodes:,}"),
            ("environment steps", f"{verdict.env_steps:,}"),
            ("with branches and certificates", f"{verdict.all_steps:,}"),
            ("minutes", f"{verdict.minutes:.1f}"),
            ("machine", verdict.machine),
        ],
        "passed": any(row.state == "accepted" for row in c.rounds),
        "practised": [row for row in c.tasks if row.practised],
        "unpractised": [row for row in c.tasks if not row.practised],
        "tasks": dict.fromkeys([*(t.task for t in c.tasks), *(t for r in c.rounds for t in r.practice)]),
        "task_rows": {row.task: row for row in c.tasks},
    }


def _of_comparison(c: Comparison) -> dict[str, Any]:
    differing = [row for row in c.arms if row.less_ci95]
    better = [row.arm for row in differing if row.less_ci95[0] > 0]
    worse = [row.arm for row in differing if row.less_ci95[1] < 0]
    said = [
        f"{', '.join(some)} {'ends' if len(some) == 1 else 'end'} {how}"
        for some, how in ((better, "above"), (worse, "below"))
        if some
    ]
    headline = f"{'; '.join(said)} {c.against}" if said else f"No arm is shown to differ from {c.against}"
    return {"title": c.name, "headline": headline, "tasks": dict.fromkeys(row.task for row in c.tasks)}


def _of_measured(c: Measured) -> dict[str, Any]:
    one = "Each line is one start. It opens with the frames that the policy saw, what it said, and what it did."
    two = (
        f"Each line is one start, played {' and '.join(c.names)}; sampled ones give the critic more failures to judge."
    )
    return {
        "title": c.title,
        "headline": c.headline,
        "figures": c.figures,
        "intro": one if len(c.names) == 1 else two,
    }


KINDS = {
    Contents: ("page.html", _of_run),
    Comparison: ("compare.html", _of_comparison),
    Measured: ("played.html", _of_measured),
}  # what is shown -> its template, and what that takes beside


def _headline(verdict: Verdict) -> str:
    """The verdict in a sentence: a change only where the interval of the gain is on one side of zero."""
    if verdict.before is None:
        return "Nothing is measured yet"
    before = f"{100 * verdict.before:.0f} %"
    if verdict.gain is None:
        return f"Held-out success is {before} before training; the gain is not measured yet"
    low, high = verdict.ci95
    after = f"{100 * verdict.after:.0f} %"
    if low > 0:
        return f"Held-out success rose from {before} to {after}"
    if high < 0:
        return f"Held-out success fell from {before} to {after}"
    return f"No change of held-out success is shown: {before} before, {after} after"


def html(template: str, **values: Any) -> str:
    """A page with the stylesheet in it; whatever is no Markup is escaped."""
    style = Markup((TEMPLATES / "report.css").read_text())
    return _templates().get_template(template).render(style=style, **values)


def _index(
    contents: Played, blocks: Sequence[Sequence[int]], frames: dict[int, Sprite], live: Live | None
) -> dict[str, Any]:
    """What the script needs before anything is opened: without steps and frames."""
    words: dict[str, int] = {}  # most texts are the same in many episodes
    entries = {}
    for i, block in enumerate(blocks):
        for number in block:
            entry = contents.episodes[number]
            texts = [words.setdefault(getattr(entry, name), len(words)) for name in TEXTS]
            entries[number] = [*texts, *(getattr(entry, name) for name in OTHERS), i]
    return {
        "columns": [*TEXTS, *OTHERS, "block"],
        "texts": len(TEXTS),
        "words": list(words),
        "episodes": entries,
        "frames": {n: [s.width, s.height, s.columns, s.stride, s.lossless, s.scaled] for n, s in frames.items()},
        "names": contents.names,
        "sides": contents.sides,
        "changes": _changes(contents.names),
        "both": [[row.where, row.task, row.seed, row.before, row.after] for row in contents.both],
        "pairs": [asdict(pair) for pair in contents.pairs],
        "trained": [[t.round, t.episode, t.steps, t.first_row] for t in contents.trained],
        "imitated_in": contents.imitated_in,
        "nearest": {n: [[near.row, near.distance] for near in some] for n, some in contents.nearest.items()},
        "live_s": live.every_s if live else 0,
    }


def _changes(names: Sequence[str]) -> dict[str, str]:
    """Outcomes of a start on both sides that the episodes are filtered by, in words."""
    if len(names) == 1:
        return {}
    first, second = names
    return {
        "regressed": f"regressed: won {first}, lost {second}",
        "gained": f"gained: lost {first}, won {second}",
        "both lost": "lost by both",
    }


def _steps(block: Iterable[int], episodes: Sequence[Episode], relabelled: Mapping[tuple[int, int], str]) -> bytes:
    """The steps of some episodes, as JSON: number -> the instruction, and what each step holds.

    relabelled: (episode, step) -> the answer of its row of SFT, where that is not the policy's own.
    """
    told = {}
    for number in block:
        e = episodes[number]
        steps = []
        for i, step in enumerate(e.steps):
            d = step.decision
            steps.append(
                {
                    "own": step.observation.proprioception,
                    "thought": thought_of(d.answer),
                    "action": action_of(d.answer),
                    "verdict": d.verdict,
                    "proposals": [[thought_of(a), action_of(a), v] for a, v in d.proposals],
                    "critique": d.critique,
                    "reward": step.reward,
                    "state": step.fingerprint.hex(),
                    "relabelled": relabelled.get((number, i)),
                }
            )
        told[number] = {
            "instruction": e.steps[0].observation.instruction if e.steps else "",
            "steps": [{key: value for key, value in step.items() if value not in (None, "", [])} for step in steps],
            "final": e.final_proprioception,
        }
    return json.dumps(plain(told), separators=(",", ":"), allow_nan=False).encode()


def _twin(contents: Played) -> str:
    kind = type(contents).__name__.lower()
    return json.dumps(plain({"report": 1, "kind": kind, **asdict(contents)}), allow_nan=False) + "\n"


def _json(value: Any) -> Markup:
    """As the content of a script element, which ends at no text in it."""
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "rate": _rate,
        "share": lambda share: NONE if share is None else f"{100 * share:.0f} %",
        "points": lambda gain, ci95: NONE if gain is None else points(gain, ci95),
        "whole": lambda n: f"{n:,}",
        "p": lambda p: _number(p, ".2g"),
        "two": lambda value: _number(value, ".2f"),
        "score": _score,
    }
    return environment


def _number(value: float | None, form: str) -> str:
    return NONE if value is None or math.isnan(value) else format(value, form)


def _rate(rate: Mapping[str, Any] | None) -> str:
    return percent(rate) if rate and rate["n"] else NONE


def _score(score: Score) -> str:
    if score.value is None:
        return NONE
    low, high = score.ci95
    return f"{score.value:.2f} [{low:.2f}, {high:.2f}]"
