"""The ceiling of a task's action words: what its expert still reaches when each of its actions goes through them.

An expert's continuous actions are rounded to `levels` on each axis, and each is held for `repeat` steps. No policy that
answers in these words is expected to be better than the expert through them. Where a declared task's file gives no
`levels` or `repeat`, the coarsest are chosen that lose at most WITHIN points, on the same practice starts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.collect.starts import pretraining_seeds
from agent.measure.ladder.playing import LEVELS, has_levels, looks, play_each
from agent.measure.statistics import rate
from agent.record.console import bar, console
from agent.record.tables import percent
from envs import registry
from envs.declared import forget
from envs.declared.measured import note, open_keys
from envs.errors import UserError
from envs.foreign.teaching import Sb3Expert, TrainedExpert
from envs.task import FILES, Task
from policies.action_codec import codec_for
from policies.baselines import with_expert

REPEATS = (1, 2, 4)
WITHIN = 2.0  # points of success that the words may cost
EPISODES = 50
FIRST = 800_000  # the first practice seed, beyond those of captions and demonstrations
DECISIONS = 8  # of an episode on average, at least: fewer leave a policy no way to correct itself

Expert = Callable[[Any], tuple[str, Any]]  # as `envs.task.Teacher.expert`: thought and action
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
            result = f"{percent(each.success)}, {each.loss(own):.0f} points lost, {each.decisions:.0f} decisions"
            said.append(f"  {words}: {result}")
        words = ", ".join(f"{key} {value}" for key in ("levels", "repeat") if (value := getattr(self, key)))
        warned = f", which loses more than {WITHIN:.0f} points" if self.kept.loss(own) > WITHIN else ""
        return [*said, f"  chosen: {words or 'nothing'}{warned}"]


def in_words(task: Task, levels: int, repeat: int) -> Task:
    """The task with other action words."""
    return replace(task.with_env(repeat=repeat), actions=replace(task.actions, levels=levels))


def tried(task: Task, expert: Expert, starts: Sequence[int], coded: bool = True) -> Tried:
    """The expert from these seeds, without the episodes that break. coded: through the task's action words, not as it
    is. Raises UserError where every episode breaks."""
    codec = codec_for(task).action

    def act(env: Any, rng: np.random.Generator) -> Any:
        _, action = expert(env)
        return codec.decode(codec.encode(action)) if coded else action

    played = list(play_each(task, act, starts, looks(task)))
    whole = [one for one in played if not one.error]
    if not whole:
        raise UserError(f"every episode of the expert of {task.name!r} broke; the first: {played[0].error}")
    levels = task.actions.levels if coded and has_levels(task) else None
    succeeded = np.array([one.success for one in whole])
    return Tried(levels, task.env.repeat, succeeded, float(np.mean([one.decisions for one in whole])))


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
    choose_levels = choose_levels and has_levels(task)
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


def settle(name: str, expert: Path | None = None) -> Choice | None:
    """Choose what a declared task's file leaves open, write it beside that file, and say so; None where nothing is
    open, or no expert can be played.

    expert: a .zip that plays, instead of the task's own. Raises UserError as `choose` and `with_expert` do.
    """
    if not name.endswith(FILES) or not (keys := set(open_keys(name))):
        return None
    task = registry.wordless(name)
    if not has_levels(task):
        keys.discard("levels")
    if expert:
        task = replace(task, teacher=replace(task.teacher, shown_by=TrainedExpert(expert)))
    task = with_expert(task)
    if not keys or task.teacher.expert is None:
        return None
    choice = choose(task, task.teacher.expert, "levels" in keys, "repeat" in keys, EPISODES)
    chosen = {key: value for key in sorted(keys) if (value := getattr(choice, key)) is not None}
    lines = choice.lines()
    if chosen:
        lines[-1] += f"; written into {str(note(name, **chosen))!r}"
        forget()
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    return choice
