"""Hooks of the documentation's site (mkdocs.yml): pages that are made from what is elsewhere in the repository.

On a code host, the files in docs/ link to the repository with relative links (`../configs/demo.yaml`), and README.md is
the first page. The site has the same links: README.md, CONTRIBUTING.md and CHANGELOG.md are pages, and any other file
outside docs/ that a page links to is shown on a page of its own, below `source/`. A link to nothing stays as it is, so
that `mkdocs build --strict` fails with its name.

The API reference has a page for each room. mkdocstrings reads the docstrings without importing the code.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
PACKAGES = ("agent", "envs", "policies")
WITHOUT_API = {"agent.commands"}  # `handeye COMMAND --help` is the reference of a command
CODE = re.compile(r"(^```.*?^```|^~~~.*?^~~~|`[^`\n]+`)", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the API reference to the navigation."""
    config.nav.append({"API reference": [{room: f"api/{room}.md"} for room, _ in rooms()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files in docs/."""
    sources = {page: (ROOT / path).read_text() for path, page in PAGES.items()}
    sources |= {f"api/{room}.md": _reference(room, modules) for room, modules in rooms()}
    for page, text in sources.items():
        files.append(File.generated(config, page, content=text))
    written = {file.src_uri: file.content_string for file in files.documentation_pages()}
    targets = {target for page, text in written.items() for target in _targets(text, _origin(page))}
    for target in sorted(filter(_is_shown, targets)):
        files.append(File.generated(config, f"source/{target}.md", content=_shown(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository become links of the site."""
    here, origin = page.file.src_uri, _origin(page.file.src_uri)
    if here.startswith(("api/", "source/")):
        return markdown

    def on_the_site(link: re.Match[str]) -> str:
        target = _resolved(origin, link[1])
        if target in PAGES:
            moved = PAGES[target]
        elif target.startswith("docs/"):
            moved = target.removeprefix("docs/")
        elif _is_shown(target):
            moved = f"source/{target}.md"
        else:
            return link[0]
        return posixpath.relpath(moved, posixpath.dirname(here) or ".") + (link[2] or "")

    return "".join(part if CODE.fullmatch(part) else LINK.sub(on_the_site, part) for part in CODE.split(markdown))


def rooms() -> Iterator[tuple[str, list[str]]]:
    """(room, its public modules): each package, and each folder in it with the folders below."""
    for package in PACKAGES:
        inside = [folder for folder in sorted((ROOT / package).iterdir()) if (folder / "__init__.py").is_file()]
        yield package, _modules((ROOT / package).glob("*.py"))
        for folder in inside:
            room = f"{package}.{folder.name}"
            if room not in WITHOUT_API:
                yield room, _modules(folder.rglob("*.py"))


def _modules(paths: Iterator[Path]) -> list[str]:
    """Dotted names of the modules that are not private; a package counts where its docstring or code says something."""
    names = []
    for path in sorted(paths):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.name == "__init__.py" and not path.read_text().strip():
            continue
        if not any(part.startswith("_") for part in parts if part != "__init__"):
            names.append(".".join(parts).removesuffix(".__init__"))
    return names


def _reference(room: str, modules: list[str]) -> str:
    return "\n\n".join([f"# {room}", *(f"::: {module}" for module in modules)]) + "\n"


def _origin(page: str) -> str:
    """Where the source of a page lies in the repository."""
    return {made: path for path, made in PAGES.items()}.get(page, f"docs/{page}")


def _resolved(origin: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def _targets(markdown: str, origin: str) -> set[str]:
    """Paths in the repository that a page links to, those in code left out."""
    prose = "".join(part for part in CODE.split(markdown) if not CODE.fullmatch(part))
    return {_resolved(origin, link[1]) for link in LINK.finditer(prose)}


def _is_shown(target: str) -> bool:
    """Whether the site has a page for it below source/: a file or a folder of the repository that is outside docs/."""
    outside = target not in PAGES and not target.startswith(("docs/", ".."))
    return outside and (ROOT / target).exists()


def _shown(target: str) -> str:
    path = ROOT / target
    title = f"---\nsearch:\n  exclude: true\n---\n\n# {target}\n\n"
    if path.is_dir():
        return title + "\n".join(f"- `{each.name}`" for each in sorted(path.iterdir()) if each.name[0] not in "._")
    language = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".md": "markdown"}.get(path.suffix, "text")
    return f"{title}~~~~{language}\n{path.read_text()}\n~~~~\n"
