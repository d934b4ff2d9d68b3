"""Experts that were trained: a model of Stable-Baselines3 that shows a task."""

from dataclasses import replace
from pathlib import Path

from envs.errors import UserError
from envs.task import Task

# The .zip of each task that has one: tasks without a scripted expert.
SHIPPED = {path.stem: path for path in (Path(__file__).parent / "experts").glob("*.zip")}
AHEAD = ("hopper", "pusher")  # tasks whose shipped expert looks ahead: as it is, it falls short too often


def with_expert(task: Task, model: Path | None = None) -> Task:
    """The task, shown by the model in a .zip; without one by its own expert, else by the one that ships, if any does.

    Raises UserError as `load` does, and for a task whose thoughts only its own expert knows.
    """
    path = model or (None if task.expert else SHIPPED.get(task.name))
    if path is None:
        return task
    if task.thought_regex and task.thought is None:
        raise UserError(f"task {task.name!r} asks for a thought, and {str(path)!r} has none; valid: a task without")
    from policies.lookahead import Lookahead  # slow to import, and only needed here
    from policies.sb3 import load

    policy, thought = load(path, task), task.thought or (lambda env: "")
    ahead = model is None and task.name in AHEAD
    action = Lookahead(policy, task).action if ahead else lambda env: policy.action(policy.look(env))
    return replace(task, expert=lambda env: (thought(env), action(env)))
