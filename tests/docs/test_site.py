"""`make docs`: the site, its links and anchors, and the pages that are no files in docs/."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from reading import ROOT

pytest.importorskip("mkdocs", reason="make docs needs mkdocs: pip install 'handeye[docs]'")
pytest.importorskip("mkdocstrings", reason="make docs needs mkdocstrings: pip install 'handeye[docs]'")
LOADED = re.compile(r'<(?:script|img|iframe)[^>]*src="?(?:https?:)?//|<link[^>]*href="?(?:https?:)?//')
COPIED = ("docs", "mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "agent", "envs", "policies", "configs")


@pytest.fixture
def repository(tmp_path):
    """A copy of what the site is made of."""
    for name in (*COPIED, "tests/games"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    return tmp_path


def built(folder):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_site_is_whole_and_loads_nothing_from_a_network(repository):
    result = built(repository)
    assert result.returncode == 0, result.stderr
    pages = {path.relative_to(repository / "site"): path.read_text() for path in (repository / "site").rglob("*.html")}
    for path, text in pages.items():
        assert not LOADED.search(text), path
    site = repository / "site"
    assert 'href="source/configs/demo.yaml.html"' in (site / "tutorial.html").read_text()
    assert 'href="tutorial.html"' in (site / "index.html").read_text()  # README's docs/tutorial.md
    assert "where: early" in re.sub("<[^>]+>", "", (site / "source/configs/demo.yaml.html").read_text())
    reference = (site / "api/agent.collect.html").read_text()
    assert 'id="agent.collect.branching.Branching.measure"' in reference
    assert not re.findall(r'id="[\w.]+\._[a-z]', reference)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["../configs/demonstration.yaml", "models.md#families-of-models", "no_page.md"])
def test_a_broken_link_fails(repository, link):
    page = repository / "docs" / "method.md"
    page.write_text(f"{page.read_text()}\n[broken]({link})\n")
    for room in ("agent", "envs", "policies"):  # no reference: it takes most of the time
        shutil.rmtree(repository / room)
        (repository / room).mkdir()
    result = built(repository)
    assert result.returncode != 0
    assert link in result.stderr
