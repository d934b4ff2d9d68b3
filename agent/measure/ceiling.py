"""The ceiling of a task's action words: what its expert still reaches when each of its actions goes through them.

An expert's continuous actions are rounded to `levels` on each axis, and each is held for `repeat` steps. No policy that
answers in these words is expected to be better than the expert through them. Where a declared task's file gives no
`levels` or `repeat`, the coarsest are chosen that lose at most WITHIN points, on the same practice starts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from agent.collect.starts import pretraining_seeds
from agent.measure.statistics import rate
from agent.record.console import bar, console
from agent.record.tables import percent
from envs import registry
from envs.declared import declared, unseen
from envs.declared.measured import note, open_keys
from envs.errors import UserError
from envs.foreign.teaching import Sb3Expert, TrainedExpert
from envs.task import Task
from policies.action_codec import codec_for
from policies.baselines import with_expert

LEVELS = (3, 5, 9, 15, 21)
REPEATS = (1, 2, 4)
WITHIN = 2.0  # points of success that the words may cost
EPISODES = 50
FIRST = 800_000  # the first practice seed, beyond those of captions and demonstrations
DECISIONS = 8  # of an episode on average, at least: fewer leave a policy no way to correct itself

Expert = Callable[[gym.Env], tuple[str, Any]]  # as `envs.task.Teacher.expert`: thought and action
Rate = dict[str, Any]  # a RATE of results.json


@dataclass(frozen=True)
class Tried:
    """The expert in some words. levels: None where its actions are taken as they are. decisions: mean of an episode."""

    levels: int | None
    repeat: int
    succeeded: np.ndarray  # (episodes,) bool
    decisions: float

    @property
    def success(self) -> Rate:
        return rate(self.succeeded)

    def loss(self, own: "Tried") -> float:
        """Points of success lost, on the same starts."""
        return 100 * float(own.succeeded.mean() - self.succeeded.mean())


@dataclass(frozen=True)
class Choice:
    """What was chosen for a task. levels, repeat: None where nothing was to be chosen. tried: the expert's own actions
    first. kept: of these, what the choice is."""

    task: str
    tried: tuple[Tried, ...]
    kept: Tried
    levels: int | None = None
    repeat: int | None = None

    def lines(self) -> list[str]:
        """What was measured and chosen, for a person."""
        own = self.tried[0]
        said = [f"ceiling of {self.task}: its expert {percent(own.success)} of {own.success['n']} practice starts"]
        for each in self.tried[1:]:
            words = f"levels {each.levels}, repeat {each.repeat}" if each.levels else f"repeat {each.repeat}"
            told = f"{percent(each.success)}, {each.loss(own):.0f} points lost, {each.decisions:.0f} decisions"
            said.append(f"  {words}: {told}")
        words = ", ".join(f"{key} {value}" for key in ("levels", "repeat") if (value := getattr(self, key)))
        warned = f", which loses more than {WITHIN:.0f} points" if self.kept.loss(own) > WITHIN else ""
        return [*said, f"  chosen: {words or 'nothing'}{warned}"]


def ceiling(
    task: Task, expert: Expert, episodes: int = EPISODES, levels: int | None = None, repeat: int | None = None
) -> Rate:
    """The success of an expert whose every action is encoded and decoded, from `episodes` practice starts.

    levels, repeat: by default the task's own. Raises UserError where there are too few starts.
    """
    worded = in_words(task, levels or task.actions.levels, repeat or task.env.repeat)
    return tried(worded, expert, pretraining_seeds(task, episodes, FIRST)).success


def in_words(task: Task, levels: int, repeat: int) -> Task:
    """The task with other action words."""
    return replace(task.with_env(repeat=repeat), actions=replace(task.actions, levels=levels))


def tried(task: Task, expert: Expert, starts: Sequence[int], coded: bool = True) -> Tried:
    """The expert from these seeds. coded: through the task's action words, not as it is."""
    codec = codec_for(task).action
    env = _unseen(task).make()
    succeeded, decisions = [], 0
    try:
        for seed in starts:
            env.reset(seed=seed)
            ended = False
            while not ended:
                _, action = expert(env)
                *_, terminated, truncated, info = env.step(codec.decode(codec.encode(action)) if coded else action)
                ended = terminated or truncated
                decisions += 1
            succeeded.append(bool(info["success"]))
    finally:
        env.close()
    levels = task.actions.levels if coded and isinstance(codec.space, gym.spaces.Box) else None
    return Tried(levels, task.env.repeat, np.array(succeeded, bool), decisions / max(1, len(succeeded)))


def _unseen(task: Task) -> Task:
    """Without a history of frames, which is drawn at each step, where the expert acts on state."""
    by = task.teacher.shown_by
    sees_pixels = isinstance(by, TrainedExpert) or (isinstance(by, Sb3Expert) and by.observe == "pixels")
    return task if sees_pixels else task.with_env(frames=1)


def choose(
    task: Task, expert: Expert, choose_levels: bool = True, choose_repeat: bool = True, episodes: int = EPISODES
) -> Choice:
    """The largest `repeat` and then the fewest `levels` that lose at most WITHIN points against the expert's own
    actions, or of the levels those that lose least, where all lose more.

    Raises UserError for an expert that never succeeds, and where there are too few starts.
    """
    starts, by = pretraining_seeds(task, episodes, FIRST), task.teacher.shown_by
    if choose_repeat:
        task = task.with_env(repeat=by.repeat if isinstance(by, Sb3Expert) else 1)
    choose_levels = choose_levels and isinstance(codec_for(task).action.space, gym.spaces.Box)
    with bar(f"ceiling of {task.name}") as progress:
        own = tried(task, expert, starts, coded=False)
        if not own.succeeded.any():
            raise UserError(
                f"the expert of task {task.name!r} succeeds on none of {episodes} practice starts; "
                "valid: one that does, such as one that was trained for more steps"
            )
        measured, kept = [own], own
        for repeat in [r for r in REPEATS if choose_repeat and r > own.repeat]:
            progress.at(len(measured), f"repeat {repeat}")
            measured.append(tried(task.with_env(repeat=repeat), expert, starts, coded=False))
            if measured[-1].loss(own) > WITHIN or measured[-1].decisions < DECISIONS:
                break
            kept = measured[-1]
        rounded = []
        for levels in LEVELS if choose_levels else ():
            progress.at(len(measured), f"levels {levels}")
            rounded.append(tried(in_words(task, levels, kept.repeat), expert, starts))
            measured.append(rounded[-1])
            if rounded[-1].loss(own) <= WITHIN:
                break
        kept = min(rounded, key=lambda each: each.loss(own)) if rounded else kept
    return Choice(task.name, tuple(measured), kept, kept.levels, kept.repeat if choose_repeat else None)


def settle(name: str) -> Choice | None:
    """Choose what a declared task's file leaves open, write it beside that file, and say so; None where nothing is
    open, or no expert can be played."""
    if not name.endswith((".yaml", ".yml")) or not (keys := open_keys(name)):
        return None
    task = with_expert(registry.wordless(name))
    if task.teacher.expert is None:
        return None
    choice = choose(task, task.teacher.expert, "levels" in keys, "repeat" in keys, EPISODES)
    chosen = {key: value for key in keys if (value := getattr(choice, key)) is not None}
    lines = choice.lines()
    if chosen:
        lines[-1] += f"; written into {str(note(name, **chosen))!r}"
        declared.cache_clear(), unseen.cache_clear()
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    return choice
