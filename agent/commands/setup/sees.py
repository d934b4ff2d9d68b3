"""`handeye sees`: ranges of a declared task's state words, measured in play."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Sees:
    """Measure the ranges of a task's state words in play, into a file beside the task's file."""

    name: Positional[str]  # a YAML file that declares a task with `sees`
    expert: Path | None = None  # a .zip of Stable-Baselines3 that plays too, instead of the task's own expert
    episodes: int = 20  # of random play, and as many of the expert
    overwrite: bool = False  # replace measured ranges; a policy that was trained with them does not know the new ones
    dry: bool = False  # print what would be written
    trust: bool = False  # load a .zip that does not ship, which can run code

    def run(self) -> None:
        """Raises UserError for a task whose file gives all ranges, and for ranges that are measured already."""
        from agent.commands.arguments import vouch
        from envs.declared import ranges, ranges_file
        from envs.errors import UserError

        file = ranges_file(self.name)
        if file is None:
            raise UserError(f"task {self.name!r} leaves no range to measure; valid: sees without low and high, or auto")
        if file.exists() and not (self.overwrite or self.dry):
            raise ranges.exists(file)
        if self.episodes < 1:
            raise UserError(f"--episodes {self.episodes}; valid: at least 1")
        if self.trust and self.expert:
            vouch(self.expert)
        text = self._measured()
        print(text if self.dry else f"ranges   {ranges.write(Path(self.name), text, self.overwrite)}")

    def _measured(self) -> str:
        from envs.declared import ranges, unseen
        from policies.baselines import with_expert

        task = with_expert(unseen(self.name), self.expert)
        expert = task.teacher.expert and (lambda env: task.teacher.expert(env)[1])
        return ranges.measured_text(Path(self.name), task, expert, self.episodes)
