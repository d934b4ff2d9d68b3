"""What a sink is told of the job that it tracks, beside the job's config."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrackedJob:
    """kind: the command's name, W&B's job type. command: what repeats the job. tags: for finding it."""

    kind: str = "improve"
    command: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """Files that a job used or made. name: the same for each version of a thing. kind: `policy` or `episodes`.

    used: whether the job read it; else the job made it. aliases: names of this version, such as `round-1`.
    """

    name: str
    kind: str
    folder: Path
    used: bool = False
    aliases: tuple[str, ...] = ()
