"""What `handeye export` does: episodes, or what a run was trained on, into a folder with a card."""

from pathlib import Path

from agent.commands.outputs import folder
from agent.record.console import bar, say
from agent.record.export import training
from agent.record.export.card import Card, plain_name, run_made
from agent.record.export.episodes import writer_for
from agent.record.export.folder import made
from agent.record.export.source import Recording, Wanted
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.journal import Journal
from agent.stages.recorded import RecordedRound, recorded_rounds, trained_pairs
from envs.errors import UserError

MB = 10**6  # [bytes]


def export_episodes(
    source: Path,
    out: Path,
    kind: str,
    wanted: Wanted,
    fps: float | None,
    video: bool,
    command: str,
    licence: str | None,
) -> dict[str, int]:
    """Write episodes as LeRobot's or Minari's dataset; returns the numbers of episodes and decisions that were written,
    and of broken episodes that were left out."""
    recording = Recording(source, wanted)
    folder(out, needs_mb=2 * recording.census.size / MB)
    prepared = writer_for(kind, recording, out, fps, video)
    with made(out) as fresh:
        with prepared.begin(fresh) as writer, bar("export", recording.census.episodes) as progress:
            for recorded in progress.track(recording):
                writer.add(recorded)
            if not writer.episodes:
                raise UserError(f"all wanted episodes in {str(source)!r} are broken; valid: another --only")
            writer.close()
        prepared.card(command, licence).write(fresh)
    return {"episodes": writer.episodes, "decisions": writer.frames, "broken": recording.tally.broken}


def export_training(run: Path, out: Path, number: int | None, command: str, licence: str | None) -> dict[str, int]:
    """Write the pairs and rows of a run's rounds, or of one of them; returns their numbers."""
    if not (run / JOURNAL).is_file():
        raise UserError(f"no run in {str(run)!r} (no {JOURNAL}); valid: the folder of a `handeye improve`")
    journal = Journal(run)
    rounds = recorded_rounds(journal, number)
    with made(out) as fresh, bar("export", 2 * len(rounds)) as progress:
        preferred = ((r, each) for r in progress.track(rounds) for each in r.preferences())
        pairs = (training.pair_row(each, each.pair(r.dialect), r.number) for r, each in preferred)
        n_pairs = training.write(fresh, training.PAIRS, pairs)
        rows = (training.example_row(e, r.number) for r in progress.track(rounds) for e in r.examples())
        n_rows = training.write(fresh, training.ROWS, rows)
        if not n_pairs + n_rows:
            raise UserError(f"{str(run)!r} was trained on nothing; valid: a run whose policy succeeded at least once")
        _card(journal, rounds, {training.PAIRS: n_pairs, training.ROWS: n_rows}, out, command, licence).write(fresh)
    trained = trained_pairs(journal, rounds)
    if trained != n_pairs:
        say(f"the run was trained on {trained} pairs; this version of handeye makes {n_pairs} of its episodes")
    return {"pairs": n_pairs, "rows": n_rows}


def _card(
    journal: Journal, rounds: list[RecordedRound], counts: dict[str, int], out: Path, command: str, licence: str | None
) -> Card:
    tasks = ", ".join(map(plain_name, journal.begun["config"]["tasks"]))
    what = (
        f"What a multimodal policy was trained on as it improved itself in simulation, recorded by HandEye: "
        f"{counts[training.PAIRS]:,} preference pairs, {counts[training.ROWS]:,} examples. Tasks: {tasks}."
    )
    table = ["| round | practised | succeeded | before the gate | after |", "|---|---|---|---|---|"]
    for r in rounds:
        practised, gate = journal.find(r.number, "practise"), journal.find(r.number, "gate")
        row = practised.row if practised else {"episodes": 0, "successes": 0}
        passed = gate.row["gate"] if gate and gate.row.get("gate") else None
        rates = [f"{100 * passed[key]['rate']:.1f} %" for key in ("before", "after")] if passed else ["-", "-"]
        share = f"{100 * row['successes'] / row['episodes']:.1f} %" if row["episodes"] else "-"
        table.append(f"| {r.number} | {row['episodes']:,} | {share} | {rates[0]} | {rates[1]} |")
    files = {name: f"{name}.parquet" for name, n in counts.items() if n}
    flipped = ["`select.flip_pairs` was on: the run was trained on pairs with a coin's choice; these are as measured."]
    made_of = run_made(journal.begun) + flipped * journal.begun["config"]["select"]["flip_pairs"]
    use = training.USE.format(name=out.name)
    text = f"{what}\n\n" + "\n".join(table)
    return Card(
        out.name, command, sum(counts.values()), files, text, training.HOLDS, made_of, use, ["trl", "dpo"], licence
    )
