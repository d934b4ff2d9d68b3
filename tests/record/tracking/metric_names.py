"""The names that docs/metrics.md gives, to compare with what runs log."""

import re
from collections.abc import Iterable
from pathlib import Path

TEXT = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
EACH_RUN = ("X-axes", "Rollouts", "Trainings", "Pairs", "Rounds", "Gain")  # sections of what each whole run logs


def documented(*sections: str) -> dict[str, re.Pattern[str]]:
    """Name in the tables of these sections -> what it matches."""
    names = {}
    for section in TEXT.split("\n## ")[1:]:
        title, _, rest = section.partition("\n")
        if title in sections:
            for name in re.findall(r"^\| `([^`]+)`", rest, flags=re.MULTILINE):
                pattern = re.escape(name).replace("TASK", ".+").replace("ARM", "[^/]+").replace(r"\*", ".+")
                names[name] = re.compile(pattern)
    return names


def undocumented(logged: Iterable[str], *sections: str) -> list[str]:
    """Names that were logged, and that no name of these sections matches."""
    patterns = documented(*sections).values()
    return [name for name in logged if not any(pattern.fullmatch(name) for pattern in patterns)]


def unlogged(logged: Iterable[str], *sections: str) -> list[str]:
    """Names of these sections that match nothing that was logged."""
    logged = list(logged)
    return [name for name, p in documented(*sections).items() if not any(map(p.fullmatch, logged))]
