"""`handeye questions`: data for question answering, made from scenes of the tabletop."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Questions:
    """Questions about scenes of the tabletop, each with its picture: OUT/choices, and OUT/free with numbers to
    answer.
    """

    out: Path  # a folder, which does not exist yet
    train: int = 12_000  # how many of each kind, to practise on
    validation: int = 300  # how many of each kind, for the gate
    test: int = 300  # how many of each kind, for the report
    seed: int = 0  # of all random draws
    image_size: int = 64  # [px] of a picture's side; a task scales it to the size that a model wants

    def run(self) -> None:
        """Raises UserError for a number that is too small, or a folder that exists."""
        from agent.commands.arguments import at_least
        from envs.suites.questions.scenes import write

        at_least(1, train=self.train, validation=self.validation, test=self.test)
        at_least(0, seed=self.seed)
        at_least(8, image_size=self.image_size)
        parts = {"train": self.train, "val": self.validation, "test": self.test}
        write(self.out, parts, self.seed, self.image_size)
        print(f"questions {self.out / 'choices'}, {self.out / 'free'}")
