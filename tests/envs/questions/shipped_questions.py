"""The two sets of questions in tests/data, and a task of each."""

from pathlib import Path

from envs.registry import task

SHIPPED = Path(__file__).parents[2] / "data" / "questions"
SIZES = {"practice": 60, "gate": 20, "heldout": 20}
KINDS = ("choices", "free")


def declare(folder, answers, questions=None):
    """Writes a YAML file that declares a task of questions, and returns that task."""
    path = folder / f"{answers}.yaml"
    path.write_text(f"questions: {questions or SHIPPED / answers}\nanswers: {answers}\nimage_size: 32\n")
    return task(str(path))
