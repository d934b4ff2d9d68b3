"""Experts that a declared task asks to be trained: where they are kept, and which of them is the one asked for.

`runs/experts/KEY/` of the working directory holds what `handeye baseline` writes, `policy.zip` and `baseline.json`. The
key is a hash of all that the training depends on: the environment and how it is observed, the settings, the versions of
the packages, and the file of the environment's class. A policy is loaded where its hash is the one that its
`baseline.json` records. Whoever can write there can run code here, as by the environment that a task's file names.
"""

import hashlib
import inspect
import json
import shlex
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from envs.errors import UserError
from envs.foreign.teaching import Sb3Expert
from envs.task import Task
from policies.experts import trust

FOLDER = Path("runs/experts")
POLICY, RECORD = "policy.zip", "baseline.json"
PACKAGES = ("gymnasium", "mujoco", "numpy", "sb3-contrib", "stable-baselines3", "torch")
SEEN = ("image_size", "cameras", "frames", "fit", "still")  # fields of EnvSpec that no state depends on
WORDS = ("info", "held")  # fields of EnvSpec that are for words alone


def trained_on(task: Task) -> Task:
    """The task as its expert is trained: an action is taken as often as its `expert` says, and frames are of the task's
    own size, whatever size another policy is shown."""
    expert = task.teacher.shown_by
    return task.with_env(repeat=expert.repeat, image_size=expert.image_size)


def folder_of(task: Task) -> Path:
    """Where the expert of a task with an `Sb3Expert` is kept, trained or not."""
    return FOLDER / _key(trained_on(task))


def cached(task: Task) -> Path | None:
    """The trained policy of a task with an `Sb3Expert`, trusted in this process; None where it is still to be trained.

    Raises UserError for one that is not what the record beside it says.
    """
    folder = folder_of(task)
    policy, record = folder / POLICY, folder / RECORD
    if not folder.is_dir():
        return None
    try:
        recorded = json.loads(record.read_bytes())["provenance"]["policy"]
        content = policy.read_bytes()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{str(folder)!r} holds no whole expert: {error}; {_anew(folder)}") from error
    if recorded != hashlib.sha256(content).hexdigest():
        raise UserError(f"{str(policy)!r} is not the policy that {RECORD} beside it records; {_anew(folder)}")
    trust.vouch_hash(recorded)
    return policy


def how_to_train(task: Task) -> str:
    """The command that trains the expert of a task with an `Sb3Expert` and keeps it where it is looked for."""
    expert: Sb3Expert = task.teacher.shown_by
    words = ["handeye", "baseline", task.name, "--algorithm", expert.sb3, "--out", str(folder_of(task))]
    options: dict[str, Any] = {name: getattr(expert, name) for name in ("steps", "observe", "n_envs", "seed", "until")}
    for name, value in (options | {"repeat": expert.repeat}).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--normalize"] if expert.normalize else []
    if expert.params:
        words += ["--params", *(str(part) for pair in expert.params.items() for part in pair)]
    return shlex.join(words)


def _anew(folder: Path) -> str:
    return f"valid: delete {str(folder)!r}, and train it anew"


@cache
def _key(task: Task) -> str:
    expert = task.teacher.shown_by
    unused = WORDS if expert.observe == "pixels" else (*SEEN, *WORDS)
    spec = {key: value for key, value in asdict(task.env).items() if key not in unused}
    if expert.observe == "pixels":
        spec["instruction"] = getattr(task.language, "text", "")
    settings = asdict(expert)
    del settings["image_size"]  # of frames, which spec has where it is trained on them
    made = {
        "environment": spec,
        "code": _code(task),
        "expert": settings,
        "versions": {name: version(name) for name in PACKAGES},
    }
    return hashlib.sha256(json.dumps(made, sort_keys=True, default=str).encode()).hexdigest()[:20]


def _code(task: Task) -> str:
    """SHA-256 of the file of the environment's class, in hex; empty where there is none, as of an extension module."""
    env = replace(task, env=replace(task.env, frames=1)).make()
    try:
        return hashlib.sha256(Path(inspect.getfile(type(env.unwrapped))).read_bytes()).hexdigest()
    except (TypeError, OSError):
        return ""
    finally:
        env.close()
