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

SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
LARGEST = "n>10M"


@dataclass(frozen=True)
class Card:
    """name: of the dataset. command: that made it. rows: how many. files: config's name -> pattern of its files, for
    `datasets.load_dataset`. holds: paragraphs about the format. use: code that reads it. tags: of the format."""

    name: str
    command: str
    rows: int
    files: Mapping[str, str]
    holds: Sequence[str]
    use: str
    tags: Sequence[str] = ()
    licence: str | None = None

    def write(self, folder: Path, recording: Recording) -> None:
        (folder / "README.md").write_text(self.text(recording))

    def text(self, recording: Recording) -> str:
        front = yaml.safe_dump(self.front_matter(recording), sort_keys=False, allow_unicode=True)
        parts = [f"---\n{front}---", f"# {self.name}", _what(recording), _table(recording)]
        parts += ["## What it holds", *self.holds, "## How it was made", self._made(recording)]
        return "\n\n".join([*parts, "## Use", f"```python\n{self.use}\n```"]) + "\n"

    def front_matter(self, recording: Recording) -> dict[str, Any]:
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

    def _made(self, recording: Recording) -> str:
        lines = [f"Command: `{self.command}`."]
        lines += [f"{n:,} episodes of `{name}`." for name, n in sorted(recording.tally.sources.items())]
        if recording.tally.broken:
            n = recording.tally.broken
            lines.append(
                f"{n:,} broken episodes were left out: the simulation went wrong, or did not happen again. "
                "They are no failures."
            )
        lines.append("Success is what the environment says, or the task's own rule; no model judged it.")
        begun = recording.begun
        if begun:
            certify = begun["config"]["collect"]["certify"]
            lines.append(
                f"Replay certificates: `collect.certify: {certify}`. An episode with a certificate was "
                "simulated again, and was the same to the last bit."
            )
            source = begun.get("provenance", {}).get("source", {})
            lines.append(f"Code of the run: HandEye {source.get('version')}, commit {source.get('commit')}.")
            lines.append(f"Versions of the run: {_listed(begun['versions'])}.")
        lines.append(f"Versions of the export: {_listed(versions())}.")
        if not self.licence:
            lines.append("No licence was stated (`--licence`). That of the environment binds.")
        return "\n".join(f"- {line}" for line in lines)


def _what(recording: Recording) -> str:
    start = "Episodes of a multimodal policy that improves itself in simulation" if recording.begun else "Episodes"
    tally = recording.tally
    episodes, steps = sum(tally.episodes.values()), sum(tally.steps.values())
    return f"{start}, recorded by HandEye: {episodes:,} episodes, {steps:,} decisions."


def _table(recording: Recording) -> str:
    tally = recording.tally
    rows = [
        f"| {Path(task).stem} | {n:,} | {100 * tally.successes[task] / n:.1f} % | {tally.steps[task]:,} |"
        for task, n in tally.episodes.items()
    ]
    return "\n".join(["| task | episodes | succeeded | decisions |", "|---|---|---|---|", *rows])


def _listed(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())
