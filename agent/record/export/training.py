"""Preference pairs and examples as plain Parquet, in the columns of trl: what a run was trained on.

`pairs.parquet` is for trl's DPOTrainer (images, prompt, chosen, rejected), `rows.parquet` for its SFTTrainer (images,
prompt, completion). The other columns say what a row was measured by. A frame is the PNG that the policy saw.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agent.organise.episode import Step
from agent.organise.outcome import Outcome
from agent.organise.pairs import Preference
from agent.organise.rows import Example, Pair
from policies.prompt import Message, assistant

PAIRS, ROWS = "pairs", "rows"
AT_ONCE = 200  # rows in memory
MEASURED = {
    "margin_success": "float64",
    "margin_saved": "float64",
    "chosen_successes": "int32",
    "chosen_n": "int32",
    "rejected_successes": "int32",
    "rejected_n": "int32",
    "p_value": "float64",
}
PLACE = {"task": "string", "seed": "int64", "round": "int32", "fingerprint": "string"}
STEP = {"attempt": "int32", "step": "int32"}


@dataclass(frozen=True)
class RecordedExample:
    """An example of an answer to imitate, and the step that it is of. fingerprint: of the state that was observed."""

    example: Example
    task: str
    seed: int
    attempt: int
    step: int
    fingerprint: bytes


def pair_row(measured: Preference, pair: Pair, round: int) -> dict[str, Any]:
    return {
        "images": [{"bytes": frame.png(), "path": None} for frame in pair.shown],
        "prompt": _said(pair.prompt),
        "chosen": _said(assistant(pair.chosen)),
        "rejected": _said(assistant(pair.rejected)),
        "margin_success": pair.margin.success,
        "margin_saved": pair.margin.saved,
        "chosen_successes": _successes(measured.winners),
        "chosen_n": len(measured.winners),
        "rejected_successes": _successes(measured.losers),
        "rejected_n": len(measured.losers),
        "p_value": measured.p_value,
        "task": measured.task,
        "seed": measured.seed,
        "round": round,
        "fingerprint": measured.chosen.fingerprint.hex(),
    }


def example_row(measured: RecordedExample, round: int) -> dict[str, Any]:
    example = measured.example
    return {
        "images": [{"bytes": frame.png(), "path": None} for frame in example.shown],
        "prompt": _said(example.prompt),
        "completion": _said(assistant(example.answer)),
        "task": measured.task,
        "seed": measured.seed,
        "round": round,
        "fingerprint": measured.fingerprint.hex(),
        "attempt": measured.attempt,
        "step": measured.step,
    }


def write(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `<name>.parquet`, AT_ONCE rows in memory; returns how many. name: PAIRS or ROWS. No file without rows."""
    left, written = iter(rows), 0
    with ExitStack() as stack:
        writer = None
        while batch := list(islice(left, AT_ONCE)):
            if writer is None:
                schema = _schema(name)
                writer = stack.enter_context(pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="snappy"))
            writer.write_table(pa.Table.from_pylist(batch, schema))
            written += len(batch)
    return written


def _schema(name: str) -> pa.Schema:
    """As `datasets` declares it, so that it decodes the images."""
    from datasets import Features, Image, List, Value  # slow to import

    said = List({"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})})
    own = {"chosen": said, "rejected": said} if name == PAIRS else {"completion": said}
    others = {**MEASURED, **PLACE} if name == PAIRS else {**PLACE, **STEP}
    columns = {"images": List(Image()), "prompt": said, **own}
    return Features(columns | {key: Value(dtype) for key, dtype in others.items()}).arrow_schema


def _said(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages, each part of a content with the same keys: Parquet has one type for all."""
    return [
        {
            "role": message["role"],
            "content": [{"type": part["type"], "text": part.get("text")} for part in message["content"]],
        }
        for message in messages
    ]


def _successes(steps: Sequence[tuple[Step, Outcome]]) -> int:
    return sum(outcome.success > 0 for _, outcome in steps)


HOLDS = (
    "`pairs.parquet`: two answers to one observation, and the measured difference of their outcomes. The simulator was "
    "in the same state when either was given (`fingerprint`, of the whole state), and each was followed to the end of "
    "the episode, so that the preference is no model's and no person's opinion.",
    """| column | what |
|---|---|
| `images`, `prompt`, `chosen`, `rejected` | as trl's DPOTrainer takes them |
| `margin_success` | chosen less rejected: the share of repeats that succeeded |
| `margin_saved` | chosen less rejected: the share of the decisions left that a success did not need |
| `chosen_successes` of `chosen_n` | how often the chosen answer's action was taken there, and success followed |
| `rejected_successes` of `rejected_n` | the same of the rejected one |
| `p_value` | one-sided, of Fisher's exact test that success follows the chosen action more often |
| `task`, `seed`, `round`, `fingerprint` | where it was measured |""",
    "`rows.parquet`: the answers that the policy was trained to imitate, of the round's own successes (the shortest of "
    "each start), without the steps that lost ground. Thoughts are those of training: `select.hindsight` recomputes "
    "them from what followed.",
    """| column | what |
|---|---|
| `images`, `prompt`, `completion` | as trl's SFTTrainer takes them |
| `task`, `seed`, `attempt`, `step`, `round`, `fingerprint` | the step that it is of |""",
)
USE = """from datasets import load_dataset

pairs = load_dataset("parquet", data_files="{name}/pairs.parquet", split="train")
rows = load_dataset("parquet", data_files="{name}/rows.parquet", split="train")
# trl: DPOTrainer(..., train_dataset=pairs.select_columns(["images", "prompt", "chosen", "rejected"]))
# trl: SFTTrainer(..., train_dataset=rows.select_columns(["images", "prompt", "completion"]))"""
