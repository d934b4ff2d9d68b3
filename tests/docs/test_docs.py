"""The docs are true: what README and the pages name is there, and the site shows all pages."""

import re

import pytest
import yaml
from reading import FENCED, PAGES, ROOT, anchors, inline, links

from agent.config import load
from agent.config.pretraining import Pretrain

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OURS = ("agent", "envs", "policies", "configs", "tests", "docs")
PATH = re.compile(rf"(?:{'|'.join(OURS)})/[\w./*-]*\w[\w*]*")


@pytest.mark.parametrize("name", NAMES)
def test_links_and_anchors_exist(name):
    text = (ROOT / name).read_text()
    for path, anchor in links(text):
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text()), f"{path}#{anchor}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text()
    for code in [*inline(text), *(block for language, block in FENCED.findall(text) if language != "text")]:
        for path in PATH.findall(re.sub(r"\S+://\S+|\S*(?:runs|mine|out)/\S+", "", code)):
            assert list(ROOT.glob(path)) or list(ROOT.glob(f"{path}.py")), path


@pytest.mark.parametrize("name", NAMES)
def test_code_parses(name):
    for language, block in FENCED.findall((ROOT / name).read_text()):
        if language == "python":
            compile(block, name, "exec")
        if language == "yaml":
            yaml.safe_load(block)


def test_configs_of_a_model_of_your_own_load(tmp_path):
    """The blocks of docs/your_model.md are whole configs: of a seed policy, then of a run."""
    text = (ROOT / "docs" / "your_model.md").read_text()
    seed, run = (block for language, block in FENCED.findall(text) if language == "yaml")
    (tmp_path / "seed.yaml").write_text(seed)
    (tmp_path / "run.yaml").write_text(run.replace("../demo.yaml", str(ROOT / "configs" / "demo.yaml")))
    assert load(tmp_path / "seed.yaml", kind=Pretrain).out == load(tmp_path / "run.yaml").policy


def test_every_file_of_experiments_is_in_their_index():
    folder = ROOT / "docs" / "experiments"
    linked = {path for path, _ in links((folder / "README.md").read_text())}
    assert {path.name for path in folder.glob("*.md")} - {"README.md"} <= linked


def test_the_file_tree_exists():
    (tree,) = (block for _, block in FENCED.findall((ROOT / "README.md").read_text()) if block.startswith("envs/"))
    paths = [line.split()[0] for line in tree.splitlines() if re.match(r"[\w/]+/(\s|$)", line)]
    assert {f"{name}/" for name in OURS} <= set(paths)
    assert [path for path in paths if not (ROOT / path).is_dir()] == []


def in_navigation(entry) -> set[str]:
    if isinstance(entry, str):
        return {entry}
    return {page for each in (entry.values() if isinstance(entry, dict) else entry) for page in in_navigation(each)}


def test_every_page_is_in_the_navigation_of_the_site():
    _, _, nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")
    pages = in_navigation(yaml.safe_load(nav.partition("\nvalidation:")[0]))
    written = {name.removeprefix("docs/") for name in NAMES if name.startswith("docs/")}
    assert pages == written | {"index.md", "contributing.md", "changelog.md"}


def test_the_citation_is_complete():
    """The fields that the schema of CFF 1.2.0 requires; cffconvert checks the whole."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cited.keys()
    pyproject = (ROOT / "pyproject.toml").read_text()
    for key in ("version", "license"):
        assert f'\n{key} = "{cited[key]}"' in pyproject


def test_the_changelog_keeps_its_form():
    headings = re.findall(r"^(##+) (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == ("##", "[Unreleased]")
    assert {text for level, text in headings if level == "###"} <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }
