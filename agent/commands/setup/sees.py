"""`handeye sees`: ranges of a declared task's state words, measured in play."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

EPISODES = 20  # of random play, and as many of an expert


@dataclass(frozen=True)
class Sees:
    """Measure the ranges of a task's state words in play, into a file beside the task's file."""

    name: Positional[str]  # a YAML file that declares a task with `sees`
    expert: Path | None = None  # a .zip of Stable-Baselines3 that plays too, instead of the task's own expert
    episodes: int = EPISODES  # of random play, and as many of the expert
    overwrite: bool = False  # replace measured ranges; a policy that was trained with them does not know the new ones
    dry: bool = False  # print what would be written
    trust: bool = False  # load a .zip that does not ship, which can run code

    def run(self) -> None:
        """Raises UserError for a task whose file gives all ranges, and for ranges that are measured already."""
        from agent.commands.arguments import at_least, vouch
        from envs.declared import ranges, ranges_file
        from envs.errors import UserError

        at_least(1, episodes=self.episodes)
        file = ranges_file(self.name)
        if file is None:
            raise UserError(f"task {self.name!r} leaves no range to measure; valid: sees without low and high, or auto")
        if file.exists() and not (self.overwrite or self.dry):
            raise ranges.exists(file)
        if self.trust:
            vouch(self.expert, tasks=(self.name,))
        text = measured(self.name, self.expert, self.episodes)
        print(text if self.dry else f"ranges   {ranges.write(Path(self.name), text, self.overwrite)}")


def measured(name: str, expert: Path | None = None, episodes: int = EPISODES) -> str:
    """The text of the file of ranges, measured now. expert: a .zip that plays, instead of the task's own.

    Raises UserError as `envs.declared.ranges.measured_text` and `policies.baselines.with_expert` do.
    """
    from envs.declared import ranges
    from envs.registry import wordless
    from policies.baselines import with_expert

    task = with_expert(wordless(name), expert)
    act = task.teacher.expert and (lambda env: task.teacher.expert(env)[1])
    return ranges.measured_text(Path(name), task, act, episodes)


def measure_missing(name: str, expert: Path | None = None) -> None:
    """Measure the ranges of a declared task that have no file yet, or one of random play alone where there is an expert
    now, and say where they are.

    Raises UserError as `measured` does, and where nothing can be written.
    """
    from envs.declared import ranges, ranges_file
    from envs.registry import wordless
    from envs.task import DECLARED
    from policies.baselines import with_expert

    if wordless(name).suite != DECLARED:
        return
    file = ranges_file(name)
    if file is None:
        return
    is_there = file.exists()
    if is_there and not (ranges.is_without_expert(file) and with_expert(wordless(name), expert).teacher.expert):
        return
    print(f"ranges   {ranges.write(Path(name), measured(name, expert), overwrite=is_there)}")
