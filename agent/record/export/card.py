"""A dataset card for a hub, README.md with a front matter of YAML, written from what was exported.

After Gebru et al. (2021), "Datasheets for Datasets", and the hub's own fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.record.export.source import Recording
from agent.record.provenance import versions
from envs.task import FILES

SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
LARGEST = "n>10M"


@dataclass(frozen=True)
class Card:
    """name: of the dataset. command: that made it. rows: how many. files: config's name -> pattern of its files, for
    `datasets.load_dataset`. what: it is, in a sentence and a table. holds: paragraphs about the format. made: lines of
    how it was made. use: code that reads it. tags: of the format. licence: as the hub names it."""

    name: str
    command: str
    rows: int
    files: Mapping[str, str]
    what: str
    holds: Sequence[str]
    made: Sequence[str]
    use: str
    tags: Sequence[str] = ()
    licence: str | None = None

    def write(self, folder: Path) -> None:
        (folder / "README.md").write_text(self.text())

    def text(self) -> str:
        front = yaml.safe_dump(self.front_matter(), sort_keys=False, allow_unicode=True)
        lines = [f"Command: `{self.command}`.", *self.made, f"Versions of the export: {_listed(versions())}."]
        if not self.licence:
            lines.append("No licence was stated (`--licence`). That of the environment binds.")
        made = "\n".join(f"- {line}" for line in lines)
        parts = [f"---\n{front}---", f"# {self.name}", self.what, "## What it holds", *self.holds]
        return "\n\n".join([*parts, "## How it was made", made, "## Use", f"```python\n{self.use}\n```"]) + "\n"

    def front_matter(self) -> dict[str, Any]:
        size = next((name for most, name in SIZES.items() if self.rows < most), LARGEST)
        front = {
            "license": self.licence,
            "pretty_name": self.name,
            "task_categories": ["robotics"],
            "size_categories": [size],
            "tags": ["handeye", *self.tags],
            "configs": [{"config_name": name, "data_files": pattern} for name, pattern in self.files.items()],
        }
        return {key: value for key, value in front.items() if value}


def of_episodes(recording: Recording) -> str:
    """What a dataset of episodes is, with the success rate of each task."""
    start = "Episodes of a multimodal policy that improves itself in simulation" if recording.begun else "Episodes"
    tally = recording.tally
    episodes, steps = sum(tally.episodes.values()), sum(tally.steps.values())
    rows = [
        f"| {plain_name(task)} | {n:,} | {100 * tally.successes[task] / n:.1f} % | {tally.steps[task]:,} |"
        for task, n in tally.episodes.items()
    ]
    table = "\n".join(["| task | episodes | succeeded | decisions |", "|---|---|---|---|", *rows])
    return f"{start}, recorded by HandEye: {episodes:,} episodes, {steps:,} decisions.\n\n{table}"


def episodes_made(recording: Recording) -> list[str]:
    """Where a dataset's episodes are from, as lines."""
    lines = [f"{n:,} episodes of `{name}`." for name, n in sorted(recording.tally.sources.items())]
    if recording.tally.broken:
        n = recording.tally.broken
        why = "the simulation went wrong, or did not happen again. They are no failures"
        lines.append(f"{n:,} broken episodes were left out: {why}.")
    lines.append("Success is what the environment says, or the task's own rule; no model judged it.")
    return lines + run_made(recording.begun)


def run_made(begun: Mapping[str, Any]) -> list[str]:
    """What a run's journal begins with, as lines; none for no run."""
    if not begun:
        return []
    certify = begun["config"]["collect"]["certify"]
    again = "An episode with a certificate was simulated again, and was the same to the last bit"
    source = begun.get("provenance", {}).get("source", {})
    return [
        f"Replay certificates: `collect.certify: {certify}`. {again}.",
        f"Code of the run: HandEye {source.get('version')}, commit {source.get('commit')}.",
        f"Versions of the run: {_listed(begun['versions'])}.",
    ]


def plain_name(task: str) -> str:
    """A task's name; of a declared one, its file's without the folder: a card shows no machine."""
    return Path(task).stem if task.endswith(FILES) else task


def _listed(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())
