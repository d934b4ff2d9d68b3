"""What README, CONTRIBUTING, CHANGELOG and the pages in docs/ say: their commands, links, anchors and paths."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
PROGRAMS = ("handeye", "python", "make", "pytest", "mkdocs")
LEFT_OUT = "..."  # of a command that is shown in part


@dataclass(frozen=True)
class Command:
    """A command of a page, without variables before it. whole: a line of a block; else a mention within a text, which
    may lack arguments."""

    page: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCED.sub("", text)


def inline(text: str) -> list[str]:
    """The code within the texts of a page, each on one line."""
    return [" ".join(code.split()) for code in INLINE.findall(prose(text))]


def lines(block: str) -> Iterator[str]:
    """The lines of a block, without comments. One that ends in a backslash, or is followed by an indented option, goes
    on."""
    joined = re.sub(r"\s*\\\n\s*|\n\s+(?=--)", " ", block)
    yield from (re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines())


def commands(page: Path) -> list[Command]:
    """The commands of a page that this repository brings, or of the comments in a config. Blocks that show an output
    (```text) have none."""
    text, found = page.read_text(), list[Command]()
    if page.suffix == ".yaml":
        text = "\n".join(re.findall("#(.*)", text))
    shown = [line for language, block in FENCED.findall(text) if language != "text" for line in lines(block)]
    for whole, said in ((True, shown), (False, inline(text))):
        for line in said:
            words = _words(line)
            if words and LEFT_OUT not in line:
                found.append(Command(str(page.relative_to(ROOT)), words, whole))
    return list(dict.fromkeys(found))


def _words(line: str) -> tuple[str, ...]:
    """The words of a command, its program without a folder and without variables before it; () for another line."""
    line = re.sub(r"^(\w+=\S* )*(\.venv/bin/)?", "", line)
    return tuple(shlex.split(line)) if line.split(" ")[0] in PROGRAMS and " " in line else ()


def links(text: str) -> list[tuple[str, str]]:
    """(path, anchor) of each link to a file or a heading; one of the two may be empty."""
    targets = re.findall(r"\]\((?!\w+:)([^)\s]+)\)", INLINE.sub("", prose(text)))
    return [(path, anchor) for path, _, anchor in (target.partition("#") for target in targets)]


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as code hosts and the site name them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+)$", prose(text), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {slug if n == 0 else f"{slug}-{n}" for slug, last in found.items() for n in range(last + 1)}
