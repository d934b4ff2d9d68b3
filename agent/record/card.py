"""A model card for a hub (Mitchell et al., 2019), written from what was recorded of a policy: nothing is measured here.

A card is README.md with a front matter of YAML, whose fields are the hub's own.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.record.merging import base_of
from agent.record.provenance import FILE
from agent.record.rundir import go_on, is_complete, plain
from agent.record.tables import percent, points
from envs.errors import UserError
from policies.backends.adapters.folder import PEFT_CONFIG, has_adapters
from policies.base import HUB_ID

RESULTS, PRETRAINED = "results.json", "pretrain.json"
PRIVATE = ("out", "tracking", "workers", "n_envs", "threads")  # keys of a config that say nothing of the policy


@dataclass(frozen=True)
class Card:
    """A checkpoint, and what was recorded of it. results: of its run; pretrained: of `handeye pretrain`; each or none.
    base: the name of the model that it was trained from. licence: as the hub names it."""

    checkpoint: Path
    results: dict[str, Any] | None
    pretrained: dict[str, Any] | None
    base: str | None
    licence: str | None

    @classmethod
    def of(cls, folder: Path, licence: str | None = None) -> "Card":
        """From a run's folder, whose last policy is meant, or from a checkpoint's.

        Raises UserError for another folder, for a run without results, and for adapters whose base is on no hub.
        """
        run = folder / RESULTS
        checkpoint = _last_policy(folder) if run.is_file() else folder
        if not any((checkpoint / name).is_file() for name in ("config.json", PEFT_CONFIG)):
            raise UserError(f"{str(folder)!r} is no run with results and no checkpoint; valid: a folder of either")
        results = _read(run) or _results_of(checkpoint)
        if run.is_file() and not is_complete(folder):
            raise UserError(f"the run in {str(folder)!r} is not complete; valid: {go_on(folder)} first")
        pretrained = _read(checkpoint / PRETRAINED)
        base = base_of(checkpoint) or _named(results, "policy") or _named(pretrained, "start")
        if has_adapters(checkpoint) and not _on_hub(base):
            raise UserError(
                f"the base of the adapters in {str(checkpoint)!r} is on no hub, and they are nothing without it; "
                f"valid: handeye merge {checkpoint} OUT first"
            )
        return cls(checkpoint, results, pretrained, base if _on_hub(base) else None, licence)

    def write(self, repo: str) -> Path:
        """README.md in the checkpoint's folder. repo: the name that it will have on the hub."""
        path = self.checkpoint / "README.md"
        path.write_text(self.text(repo))
        return path

    def text(self, repo: str) -> str:
        front = yaml.safe_dump(self.front_matter(repo), sort_keys=False, allow_unicode=True)
        parts = [f"---\n{front}---\n\n# {repo.partition('/')[2]}", self._what(), self._success(), self._training()]
        return "\n\n".join(part for part in (*parts, _USE.format(repo=repo)) if part) + "\n"

    def front_matter(self, repo: str) -> dict[str, Any]:
        adapters = has_adapters(self.checkpoint)
        front = {
            "license": self.licence,
            "library_name": "peft" if adapters else "transformers",
            "pipeline_tag": "image-text-to-text",
            "base_model": self.base,
            "base_model_relation": self.base and ("adapter" if adapters else "finetune"),
            "tags": ["robotics", "handeye"],
        }
        if self.results:
            front["model-index"] = [{"name": repo.partition("/")[2], "results": list(self._metrics())}]
        return {key: value for key, value in front.items() if value is not None}

    def _metrics(self):
        for task, row in self.results["heldout"].items():
            name = f"success rate of {row['after']['n']} held-out starts"
            metric = {"type": "success_rate", "name": name, "value": round(100 * row["after"]["rate"], 1)}
            yield {
                "task": {"type": "robotics"},
                "dataset": {"name": task, "type": "handeye"},
                "metrics": [metric],
            }

    def _what(self) -> str:
        record = self.results or self.pretrained
        if not record:
            return "A policy of HandEye: it looks at frames of a simulated task and answers with an action."
        tasks = ", ".join(_task(name) for name in record["config"]["tasks"])
        return (
            "A policy of HandEye: it looks at frames of a simulated task and answers with an action. "
            f"Practised tasks: {tasks}."
        )

    def _success(self) -> str:
        if not self.results:
            return ""
        rows = [
            f"| {_task(task)} | {percent(row['before'])} | {percent(row['after'])} | "
            f"{points(row['gain']['points'], row['gain']['ci95'])} | {row['after']['n']} |"
            for task, row in self.results["heldout"].items()
        ]
        head = "| task | before | after | gain in points | starts |\n| --- | --- | --- | --- | --- |"
        return (
            "## Success\n\nGreedy success on held-out starts, the same before and after, with 95 % intervals "
            f"(Wilson; of the gain, a paired bootstrap).\n\n{head}\n" + "\n".join(rows)
        )

    def _training(self) -> str:
        """How it was made: command, steps, provenance, and the config."""
        record, command = self.results or self.pretrained, "improve" if self.results else "pretrain"
        if not record:
            return ""
        lines = [f"Command: `handeye {command} config.yaml`, with the config below."]
        if self.results:
            budget, rounds = self.results["budget"], self.results["rounds"]
            accepted = sum(row["accepted"] for row in rounds)
            lines += [
                f"Rounds: {len(rounds)}, of which {accepted} passed the gate.",
                f"Environment steps: {budget['env_steps']:,}, and {budget['branch_env_steps']:,} in branches, "
                f"{budget['verify_env_steps']:,} for certificates.",
            ]
        source = record.get("provenance", {}).get("source", {})  # older seeds have none
        lines.append(f"Code: HandEye {source.get('version', 'of unknown version')}, commit {source.get('commit')}.")
        lines.append("Versions: " + ", ".join(f"{name} {v}" for name, v in record["versions"].items()) + ".")
        if not self.licence:
            lines.append("No licence was stated. That of the base model binds.")
        config = yaml.safe_dump(plain(_public(record["config"])), sort_keys=False)
        return "## Training\n\n" + "\n".join(f"- {line}" for line in lines) + f"\n\n```yaml\n{config}```"


_USE = """## Use

```
handeye eval TASK --policy {repo}
```

The weights are a stock transformers model's, and load without HandEye."""


def _last_policy(run: Path) -> Path:
    """The folder of a run's last policy: as recorded, or, in a run that was moved, below it.

    Raises UserError where it is still the seed policy, and where it is gone.
    """
    results = _read(run / RESULTS)
    if not any(row["accepted"] for row in results["rounds"]):
        raise UserError(
            f"no round of {str(run)!r} passed the gate: its policy is the seed; valid: a checkpoint's folder"
        )
    recorded = Path(results["policy"])
    for path in (run / Path(*recorded.parts[-2:]), recorded):
        if path.is_dir():
            return path
    raise UserError(f"the policy of the run {str(run)!r} is not at {str(recorded)!r}; valid: that folder in its place")


def _results_of(checkpoint: Path) -> dict[str, Any] | None:
    """The results of the run that made the checkpoint, if it is the run's last policy."""
    made = _read(checkpoint / FILE) or {}
    if made.get("stage") == "merge":
        return _results_of(Path(made["parent"]["policy"]))
    results = _read(Path(made["run"]) / RESULTS) if "run" in made else None
    if not results or not results.get("complete", True):
        return None
    return results if Path(results["policy"]).resolve() == checkpoint.resolve() else None


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _named(record: dict[str, Any] | None, key: str) -> str | None:
    return record["config"].get(key) if record else None


def _on_hub(name: str | None) -> bool:
    return bool(name) and re.fullmatch(HUB_ID, name) is not None and not Path(name).exists()


def _task(name: str) -> str:
    return Path(name).stem if name.endswith((".yaml", ".yml")) else name


def _public(config: dict[str, Any]) -> dict[str, Any]:
    """The config without what says nothing of the policy; of paths, only the last part: a card shows no machine."""
    return {key: _without_folders(value) for key, value in config.items() if key not in PRIVATE and value is not None}


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
