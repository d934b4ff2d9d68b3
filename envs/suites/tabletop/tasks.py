"""The tabletop's tasks: practised and held-out goals, and held-out appearances."""

from types import ModuleType

import gymnasium as gym

from envs.suites.tabletop import lift, place, push, reach
from envs.suites.tabletop.appearances import APPEARANCES
from envs.suites.tabletop.language.base import vocabulary
from envs.suites.tabletop.teacher import TEACHER
from envs.task import EnvSpec, Task

__all__ = ["TABLETOP", "vocabulary"]

SETBACK = -0.1  # reward above which things were only nudged


def _tasks(module: ModuleType) -> list[Task]:
    """The task of a module named after it: practised, with held-out goals, and with each held-out appearance."""
    name = module.__name__.rpartition(".")[2]
    env_type, env_id = name.capitalize(), f"HandEye/{name.capitalize()}-v0"
    gym.register(env_id, entry_point=f"{module.__name__}:{env_type}", max_episode_steps=module.HORIZON)
    language = getattr(module, env_type).language

    def task(suffix: str, split: str, tags: tuple[str, ...] = (), **kwargs: str) -> Task:
        env = EnvSpec(env_id, kwargs)
        return Task(name + suffix, "tabletop", split, env, tags, setback=SETBACK, language=language, teacher=TEACHER)

    return [
        task("", "practice", goals="practice"),
        task("-heldout", "heldout", goals="heldout"),
        *(
            task(f"-{appearance}", "heldout", (f"look-{appearance}",), goals="practice", appearance=appearance)
            for appearance in APPEARANCES
            if appearance != "practice"
        ),
    ]


TABLETOP = tuple(task for module in (reach, push, lift, place) for task in _tasks(module))
