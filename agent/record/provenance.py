"""Provenance of results and weights: the code, the packages, hashes of weights, the content of declared tasks."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent.config import Config
from envs.declared import ranges_file
from envs.declared.measured import path_of
from envs.errors import UserError
from envs.task import ActionWords
from envs.validation import read
from policies.backends.adapters.weights import file_sha256, files_sha256, weights_sha256

PACKAGES = ("handeye", "torch", "transformers", "trl", "gymnasium", "mujoco", "stable-baselines3", "xgrammar", "numpy")
ROOT = Path(__file__).resolve().parents[2]  # the folder that holds `agent`: a checkout, or site-packages
FILE = "provenance.json"  # in the folder of each checkpoint that a run writes
PRETRAINED = "pretrain.json"  # in that of `handeye pretrain`
GIT_TIMEOUT_S = 10
OF_WORDS = {
    "sees": "state words (sees, thinks or ranges)",
    "levels": "levels of its actions",
    "repeat": "repeats of its actions (repeat)",
    "actions": "names of its actions",
}


def versions() -> dict[str, str]:
    """Package -> version, of Python and the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@cache
def source() -> dict[str, Any]:
    """The code of this process at the first call: `version`, `commit`, and `clean`.

    clean: whether nothing was changed or added in the checkout beside what git ignores. commit and clean are None
    outside a git checkout, and where git cannot be run.
    """
    top = _git("rev-parse", "--show-toplevel")
    ours = top is not None and Path(top).resolve() == ROOT  # not a checkout of something else around site-packages
    commit = _git("rev-parse", "HEAD") if ours else None
    changes = _git("status", "--porcelain") if commit else None
    return {"version": version("handeye"), "commit": commit, "clean": None if changes is None else not changes}


def _git(*arguments: str) -> str | None:
    """The output of a git command in ROOT; None where it fails, or git is not installed."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def at_beginning(config: Config, policy: Path) -> dict[str, Any]:
    """Provenance of a run at its beginning: the code, the seed policy's weights, and the content of declared tasks."""
    tasks = declared_tasks((*config.tasks, *config.evaluation.tasks))
    return {"source": source(), "seed_policy": weights_sha256(policy), "tasks": tasks}


def declared_tasks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Path of each task declared by a YAML file -> `content`, the file's mapping, and `sha256`, of the file.

    `measured`, where there is a file of what was measured of the task: the same two of that file.
    A task of questions in a folder also has `questions_sha256`: of the lines that sha256sum prints for its files, in
    the order of their paths. One with measured ranges of its state words has `sees`, content and hash of their file.
    Raises UserError for a missing file.
    """
    return {name: _declared(Path(name)) for name in dict.fromkeys(names) if name.endswith((".yaml", ".yml"))}


def _declared(path: Path) -> dict[str, Any]:
    content = read(path)
    record = _content(path, content)
    if "questions" in content:
        folder = Path(content["questions"])
        record["questions_sha256"] = files_sha256(folder, sorted(p for p in folder.rglob("*") if p.is_file()))
    if (found := path_of(str(path))).is_file():
        record["measured"] = _content(found, read(found))
    if (ranges := ranges_file(str(path))) and ranges.is_file():
        record["sees"] = _content(ranges, read(ranges))
    return record


def _content(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": json.loads(json.dumps(content, default=str)), "sha256": file_sha256(path)}


def check_words(policy: Path, names: Iterable[str]) -> None:
    """Raises UserError for a declared task whose words are no longer those that a checkpoint was trained with: those of
    its state and of its actions.

    policy: a folder, whose records name the tasks by their paths; a task that none names is not looked at.
    """
    trained = _trained_with(policy)
    for name, now in declared_tasks(name for name in names if name in trained).items():
        was, here = _words(trained[name]), _words(now)
        other = next((key for key in here if here[key] != was[key]), None)
        if other:
            raise UserError(
                f"task {name!r}: {str(policy)!r} was trained with other {OF_WORDS[other]}; valid: "
                "as they were, or a policy that is trained with these by handeye pretrain"
            )


def _trained_with(policy: Path) -> dict[str, dict[str, Any]]:
    """The declared tasks in a checkpoint's records, of the stage or the pretraining that wrote it."""
    file = next((path for name in (FILE, PRETRAINED) if (path := policy / name).is_file()), None)
    if file is None:
        return {}
    try:
        record = json.loads(file.read_bytes())
        made = record.get("provenance", {}) if file.name == PRETRAINED else record  # that of the first seed has none
        return made.get("tasks") or {}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{str(file)!r} is no record of a training; valid: as it was written, or without it") from error


def _words(record: Mapping[str, Any]) -> dict[str, Any]:
    """Key of OF_WORDS -> what a policy's words depend on. record: of `declared_tasks`."""
    own, found = record["content"], record.get("measured", {}).get("content", {})
    return {
        "sees": (own.get("sees"), own.get("thinks", True), record.get("sees", {}).get("content")),
        "levels": own.get("levels") or found.get("levels") or ActionWords.levels,
        "repeat": own.get("repeat") or found.get("repeat") or 1,
        "actions": own.get("actions") or [],
    }


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of a config as JSON with sorted keys, in hex."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def sign(checkpoint: Path, parent: Path, **made_by: Any) -> None:
    """Write `provenance.json` into a checkpoint's folder: hashes of its weights and its parent's, code and packages.

    parent: the checkpoint that it was trained from. made_by: further entries, such as run, round, stage, the hash of
    the config and the declared tasks.
    """
    record = {
        **made_by,
        "weights": weights_sha256(checkpoint),
        "parent": {"policy": str(parent), "weights": weights_sha256(parent)},
        "source": source(),
        "versions": versions(),
    }
    (checkpoint / FILE).write_text(json.dumps(record, indent=1) + "\n")
