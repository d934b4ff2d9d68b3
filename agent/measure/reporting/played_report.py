"""The pages of `handeye eval` and `handeye audit`: their numbers, and the episodes that these are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.measure.reporting.entries import entry, starts
from agent.measure.statistics import verdict_scores
from agent.organise.episode import Episode
from agent.record.provenance import source, versions
from agent.record.report.contents import Both, Entry, Judgement, Measured, TaskRow
from agent.record.report.page import FRAMES_MB, write
from agent.record.tables import audit_rows, percent, points

GREEDY, CRITICISED, SAMPLED = "greedy", "criticised", "sampled"  # how an audit plays
Played = Mapping[str, Sequence[Episode]]  # how it was played -> its episodes


def eval_report(
    out: Path,
    told: Mapping[str, Any],
    episodes: Sequence[Episode],
    command: str,
    settings: Mapping[str, Any],
    note: str = "",
) -> None:
    """Write the page of an evaluation.

    told: what `handeye eval --json` writes. note: on the interval. Raises UserError where the disk is full or fails.
    """
    task, result = told["task"], told["result"]
    numbers = {id(e): i for i, e in enumerate(episodes)}
    entries = [entry(i, e, told["split"], told["policy"], certificate="not asked for") for i, e in enumerate(episodes)]
    broken = len(episodes) - result["n"]
    figures = [
        ("success", percent(result)),
        ("episodes", f"{result['n']:,}"),
        ("broken, left out", f"{broken:,}"),
        ("decisions", f"{sum(len(e.steps) for e in episodes):,}"),
        ("split", told["split"]),
        ("policy", told["policy"]),
    ]
    judged = [(s.decision.verdict, e.success) for e in episodes for s in e.steps if s.decision.verdict is not None]
    scores = [verdict_scores(*zip(*judged, strict=True))] if judged else []
    page = Measured(
        title=f"{told['policy']} on {task}",
        headline=f"{100 * result['rate']:.0f} % of {result['n']:,} episodes of {task} succeeded",
        figures=figures,
        tasks=[TaskRow(task, False, result)],
        command=command,
        note=note,
        judged=[Judgement(task, "verdicts on answers that were acted on", each) for each in scores],
        episodes=entries,
        both=starts(told["split"], episodes, (), numbers),
        names=("episode",),
        **_made(settings),
    )
    write(page, episodes, out, FRAMES_MB)


def audit_report(
    out: Path,
    results: Mapping[str, Any],
    played: Mapping[str, Played],
    policy: str,
    command: str,
    settings: Mapping[str, Any],
) -> None:
    """Write the page of an audit.

    results: task -> what `audit` returns. played: task -> how -> episodes. Raises UserError where the disk is full or
    fails.
    """
    episodes, entries, both = _of_audit(played, policy)
    rows = [
        TaskRow(task, False, r["acting"]["before"], r["acting"]["after"], g["points"], g["ci95"], g["p_value"])
        for task, r in results.items()
        for g in (r["acting"]["gain"],)
    ]
    kinds = (("ends", "verdicts on endings"), ("answers", "verdicts on answers"))
    page = Measured(
        title=f"The critic of {policy}",
        headline=_headline(rows),
        figures=[(f"gain of acting, {row.task}", points(row.gain, row.ci95)) for row in rows],
        tasks=rows,
        command=command,
        note="Gains are paired, on the same starts, with bootstrap 95 % intervals; p is that of McNemar's exact test.",
        judged=[Judgement(task, what, r[key]) for task, r in results.items() for key, what in kinds if key in r],
        table=audit_rows(results),
        episodes=entries,
        both=both,
        names=(GREEDY, CRITICISED),
        sides={SAMPLED: (SAMPLED, SAMPLED)},
        **_made(settings),
    )
    write(page, episodes, out, FRAMES_MB)


def _headline(rows: Sequence[TaskRow]) -> str:
    """What acting on its own criticism is shown to change, by task."""
    shown = [row for row in rows if row.ci95[0] * row.ci95[1] > 0]  # the interval is on one side of zero
    said = [f"{'raises' if row.gain > 0 else 'lowers'} success on {row.task}" for row in shown]
    if not said:
        return "No change by acting on its own criticism is shown"
    return f"Acting on its own criticism {' and '.join(said)}"


def _of_audit(played: Mapping[str, Played], policy: str) -> tuple[list[Episode], list[Entry], list[Both]]:
    episodes: list[Episode] = []
    entries: list[Entry] = []
    both: list[Both] = []
    for by_kind in played.values():
        numbers = {}
        for kind, some in by_kind.items():
            for e in some:
                numbers[id(e)] = len(episodes)
                entries.append(entry(len(episodes), e, kind, policy, certificate="not asked for"))
                episodes.append(e)
        both += starts("held-out", by_kind[GREEDY], by_kind[CRITICISED], numbers)
        both += starts(SAMPLED, by_kind.get(SAMPLED, ()), (), numbers)
    return episodes, entries, both


def _made(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"versions": versions(), "provenance": {"source": source()}, "config": dict(settings)}
