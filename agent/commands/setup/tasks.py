"""`handeye tasks`: the tasks, and the observation and actions of one."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    import gymnasium as gym

    from envs.snapshot import Restorable
    from envs.task import Task


@dataclass(frozen=True)
class Tasks:
    """The list of tasks, or the observation and the actions of one."""

    what: Positional[Literal["list", "show"]] = "list"  # list, or show with a name
    name: Positional[str] = ""
    """for show: from the list, or a YAML file that declares a task. For list: a suite, a tag or a pattern such as
    `mw-*`, whose tasks are listed one by one, with their instructions"""
    json: Path | None = None  # a file to write the same to; without a name, the standard output
    frame: Path | None = None  # where to save the frames of its observation, as an image (NAME.png)

    def run(self) -> None:
        """Raises UserError for an unknown name, and for a pattern that no task has."""
        from agent.commands.outputs import document, emit

        out = document(self.json)
        if self.what == "list":
            emit(out, _list(self.name))
        else:
            emit(out, _show(self.name, self.frame or Path(f"{Path(self.name).stem}.png")))


def _cameras(env: "gym.Env") -> str:
    """The cameras of a MuJoCo environment's model, or of one that draws itself through several."""
    from envs.cameras import cameras_of
    from envs.snapshot import is_physical

    if not is_physical(env):
        return "none, it draws itself"
    return ", ".join(cameras_of(env.unwrapped)) or "none has a name"


def _list(pattern: str) -> list[dict[str, str]]:
    """Print the tasks that a pattern names, or all: there the tasks of a numbered series share a row. Returns each."""
    from rich.table import Table

    from agent.record.console import show
    from envs import registry

    listed = registry.matching(pattern) if pattern else list(registry.TASKS.values())
    if pattern:
        table = Table("task", "suite", "split", "instruction")
        for task in listed:
            table.add_row(task.name, task.suite, task.split, getattr(task.language, "text", "of each episode"))
    else:
        table = Table("task", "suite", "split", "environment")
        for series in registry.in_series():
            table.add_row(registry.range_of(series), series[0].suite, series[0].split, series[0].env.id)
    show(table)
    columns = ("task", "suite", "split", "environment")
    return [dict(zip(columns, (t.name, t.suite, t.split, t.env.id), strict=True)) for t in listed]


def _state(task: "Task", env: "Restorable") -> list[tuple[str, str]]:
    """Rows for the state in words, and what the numbers of each part are; none for a task without."""
    from envs.declared.language import SeenLanguage, meaning
    from envs.language import StateLanguage

    language = task.language
    if not isinstance(language, StateLanguage):
        return []
    means = language.parts if isinstance(language, SeenLanguage) else {}  # legends tell the others
    words = language.seen.each(env)
    rows = [f"{word}" + (f": {meaning(means[part])}" if part in means else "") for part, word in words.items()]
    return [("state words" if not i else "", each) for i, each in enumerate(rows)]


def _show(name: str, frame: Path) -> dict[str, str | list[str]]:
    """Print a policy's observation after a reset of the task, and save its frames side by side as an image."""
    import imageio.v3 as iio
    import numpy as np
    from rich.table import Table

    from agent.commands.outputs import file
    from agent.commands.probing import at_a_start
    from agent.record.console import show
    from envs import registry
    from policies.action_codec import codec_for

    frame = file(frame)
    task = registry.task(name)
    observation, state, cameras = at_a_start(task, lambda env: (task.observe(env), _state(task, env), _cameras(env)))
    codec, rule = codec_for(task), task.env.success
    table = Table.grid(padding=(0, 2))
    rows = (
        ("environment", f"{task.env.id}, {task.suite}, {task.split}"),
        ("instruction", observation.instruction),
        ("proprioception", observation.proprioception or "none"),
        *state,
        ("frames", " x ".join(map(str, observation.frames.shape))),
        ("answer", "a thought, then an action" if task.language.thought_regex else "an action"),
        ("action", re.sub(r"\\(\W)", r"\1", codec.action.regex)),
        ("of", f"{codec.action.space}" + (f", each {task.env.repeat} times" if task.env.repeat > 1 else "")),
        ("success", rule.in_words() if rule else "as the environment tells"),
        ("cameras", cameras),
        ("legend", " ".join(task.language.legend) or "none"),
    )
    for row in rows:
        table.add_row(*row)
    show(table)
    iio.imwrite(frame, np.concatenate(list(observation.frames), axis=1))
    print(f"frame    {frame}")
    words = [text for _, text in state]
    return {key: text for key, text in rows if key and text not in words} | {"state words": words, "frame": str(frame)}
