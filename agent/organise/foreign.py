"""Files that other programs put into our folders: what operating systems and editors leave, copies that sync tools
make of ours. They are named and left alone: never read, moved or deleted."""

import re
from collections.abc import Iterable
from pathlib import Path

PART = re.compile(r"part-\d{5,}\.parquet")  # an episode store's own files
_LEFT = re.compile(
    r"\._.*|\.DS_Store|\.localized|\.directory|(eh)?thumbs\.db|desktop\.ini"  # macOS, KDE, Windows
    r"|\.nfs.*|\.fuse_hidden.*|\.syncthing\..*|\.dropbox.*|\.~.*|~\$.*|.*~|\..*\.sw[op]"  # file systems, editors
    r"|.* \(\d+\)(\.\w+)*|.*conflicted copy.*|.*\.sync-conflict-.*",  # copies by sync tools and browsers
    re.IGNORECASE,
)
_READ = (".json", ".safetensors", ".jinja", ".model", ".bin", ".pt", ".pth", ".py")  # by loaders of checkpoints
_READ_NAMES = ("vocab.txt", "merges.txt", "added_tokens.txt")


def is_left(path: Path) -> bool:
    """Whether the name is one that another program gives to a file of its own."""
    return re.fullmatch(_LEFT, path.name) is not None


def is_part(path: Path) -> bool:
    """Whether the name is that of an episode store's part."""
    return re.fullmatch(PART, path.name) is not None


def could_be_read(path: Path) -> bool:
    """Whether we, or who loads a checkpoint, could read a file of this name as one of ours."""
    ours = is_part(path) or path.suffix in _READ or path.name in _READ_NAMES
    return ours and not is_left(path)


def beside_parts(paths: Iterable[Path]) -> list[Path]:
    """Those that are none of ours among the paths of a store: files of other programs, and Parquet files that are no
    parts."""
    return sorted(path for path in paths if is_left(path) or (path.suffix == ".parquet" and not is_part(path)))


def notice(path: Path) -> str:
    """A line that names such a file."""
    return f"{str(path)!r} is none of ours: left alone"
