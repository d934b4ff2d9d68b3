"""The report's page in a real Chromium, without a screen: one browser for all tests.

axe-core is run where it can be had: AXE names its axe.min.js, or npm packs it. It is no part of the project.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import browser as web
import made
import pytest

from agent.measure.reporting import compare_report, run_report
from agent.record.report.page import Live

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(web.missing()), reason=web.missing())]
STARTS = "document.querySelectorAll('#episodes-list tbody tr').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with made.registered():
        path = made.run(tmp_path_factory.mktemp("page") / "run", before="010010" * 6, after="110100" * 6)
        return run_report.report(path)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Pages of a run beside a baseline, a comparison, an evaluation and an audit, by name."""
    folder = tmp_path_factory.mktemp("others")
    with made.registered():
        for seed, after in enumerate(("110110", "011110")):
            made.run(folder / "arms" / "plain" / f"seed_{seed}")
            made.run(folder / "arms" / made.TAG / f"seed_{seed}", after=after)
        beside = run_report.report(folder / "arms" / "plain" / "seed_0", beside=[made.baseline(folder / "ppo")])
        compared = compare_report.report(folder / "arms")
        pages = made.evaluated(folder / "eval.html"), made.audited(folder / "audit.html")
    return dict(zip(("run", "compare", "eval", "audit"), (beside, compared, *pages), strict=True))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with web.browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def at(session, page):
    """Opens the page, at a fragment."""

    def opened(fragment="", width=1280, **settings):
        session.size(width, **settings)
        session.open(page, fragment)
        return session

    yield opened
    assert session.errors() == []


def choose(session, **filters):
    script = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    )
    for name, value in filters.items():
        session.run(script, f"f-{name}", value)
    return session.run("return document.getElementById('episodes-count').textContent")


def test_filters_filter(at):
    session = at()
    assert choose(session) == "80 of 80 starts"
    assert session.run(f"return {STARTS}") == 25  # a page
    assert choose(session, where="held-out") == "72 of 80 starts"
    assert choose(session, task=made.TASK) == "36 of 80 starts"
    assert choose(session, outcome="regressed") == "6 of 80 starts"
    assert session.run(f"return {STARTS}") == 6
    assert choose(session, outcome="gained") == "12 of 80 starts"
    assert choose(session, outcome="lost") == "18 of 80 starts"
    assert choose(session, outcome="", where="", ending="truncated") == "20 of 80 starts"
    assert choose(session, ending="", critic="wrong") == "2 of 80 starts"
    session.run("document.getElementById('f-clear').click()")
    assert choose(session) == "80 of 80 starts"


def test_pages_turn(at):
    session = at("#episodes")
    first = "document.querySelector('#episodes-list tbody th').textContent"
    before = session.run(f"return {first}")
    session.run("document.querySelector('#episodes-pager button:last-child').click()")
    assert session.run(f"return {first}") != before
    assert session.run("return document.querySelector('#episodes-pager span').textContent") == "page 2 of 4"


def test_the_keyboard_alone_suffices_and_both_players_stay_in_step(at):
    session = at()
    session.run("document.querySelector('#f-clear').focus()")
    session.press("Tab")
    assert session.run("return document.activeElement.getAttribute('href')") == "#start=0"
    session.press("Enter")
    session.wait("document.activeElement.id === 'player-step'")
    in_step = "[...document.querySelectorAll('.side canvas')].every((c) => c.dataset.step === arguments[0])"
    for key, step in (("Right", 1), ("Right", 2), ("End", made.STEPS), ("Left", made.STEPS - 1), ("Home", 0)):
        session.press(key)
        assert session.wait(in_step, str(step))
        lists = "return [...document.querySelectorAll('.side dl[data-step]')].map((l) => l.dataset.step)"
        assert session.run(lists) == [str(step)] * 2
    session.press("Escape")
    session.wait("!document.getElementById('player').open")
    assert session.run("return document.activeElement.getAttribute('href')") == "#start=0"
    assert session.run("return location.hash") == ""


def test_a_step_shows_all_that_the_policy_said(at):
    session = at("#start=0")
    session.wait("document.getElementById('player').open")
    said = session.run("return document.querySelector('#side-0 dl').textContent")
    for words in (f"instructiondo {made.EVIL}", f"thoughtsee {made.EVIL}", "actionmove +1 +0", f"because {made.EVIL}"):
        assert words in said
    proposals = "return [...document.querySelectorAll('#side-0 dl tbody tr')].map((r) => r.lastChild.textContent)"
    assert session.run(proposals) == ["0.90", "0.20"]


def test_frames_are_drawn_as_the_policy_saw_them(at):
    session = at("#start=0")
    session.wait("document.querySelector('#side-0 canvas').dataset.step === '0'")
    pixels = "const c = document.querySelector('#side-0 canvas');"
    pixels += "const d = c.getContext('2d').getImageData(0, 5, c.width, 1).data;"
    pixels += "return [[...d.slice(20, 24)], [...d.slice(4 * c.width - 20, 4 * c.width - 16)]]"
    assert session.run(pixels) == [[255, 255, 255, 255], [120, 120, 120, 255]]  # 40 + 20 * (100 % 8)


def test_it_plays_to_the_end(at):
    session = at("#start=0")
    session.wait("document.getElementById('player').open")
    session.run("document.getElementById('player-play').click()")
    session.wait(f"document.getElementById('player-step').value === '{made.STEPS}'")
    session.wait("document.getElementById('player-play').textContent === 'Play'")


def test_a_failed_episode_is_three_clicks_from_its_nearest_row(at):
    session = at()
    session.click("#f-outcome option[value=lost]")  # one
    assert session.run("return document.querySelector('#episodes-list tbody td').textContent") == "held-out"
    session.click("#episodes-list tbody a")  # two
    link = "#side-1 a[href^='#row=']"
    session.wait(f'Boolean(document.querySelector("{link}"))')
    session.click(link)  # three
    session.wait("document.getElementById('player-title').textContent.startsWith('Row ')")
    about = session.wait("document.querySelector('#side-0 details[open] dl').textContent")
    for words in ("round_00", "policy", "certificatesimulated again, equal bit for bit", "final state"):
        assert words in about
    session.run("history.back()")
    session.wait("document.getElementById('player-title').textContent.startsWith('toy')")


def test_a_pair_opens_at_its_state_with_what_followed_each_answer(at):
    session = at("#pair=0")
    session.wait("document.getElementById('player').open")
    heads = session.run("return [...document.querySelectorAll('.side h3')].map((h) => h.textContent)")
    assert heads == ["chosen: won in 4 steps", "rejected: lost in 4 steps"]
    note = session.run("return document.getElementById('player-note').textContent")
    assert "chosen success in 1 of 1, rejected success in 0 of 1" in note


def test_what_a_model_or_dataset_wrote_is_text(at, page):
    session = at("#start=0")
    session.wait("document.getElementById('player').open")
    assert session.run("return window.evil") is None
    assert made.EVIL not in page.read_text()
    assert made.EVIL in session.run("return document.getElementById('episodes-list').textContent")
    assert session.run("return document.querySelectorAll('script:not([type])').length") == 1


@pytest.mark.parametrize("fragment", ["", "#start=0", "#pair=0", "#row=0"])
def test_at_400_pixels_nothing_scrolls_sideways(at, fragment):
    session = at(fragment, width=400)
    if fragment:
        session.wait("document.getElementById('player').open")
    wide = (
        "return [document.documentElement, document.getElementById('player')].map((e) => e.scrollWidth - e.clientWidth)"
    )
    assert session.run(wide) == [0, 0]


@pytest.mark.parametrize("name", ["run", "compare", "eval", "audit"])
def test_other_pages_have_the_same_parts(session, others, name, axe):
    """Filters, the player and its keys, 400 pixels, axe, and no word in the console."""
    session.size(400)
    session.open(others[name])
    assert session.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    session.size(1280)
    session.click("#f-outcome option[value=lost]")
    column = 3 if name == "eval" else 4
    ends = f"[...document.querySelectorAll('#episodes-list tbody td:nth-child({column})')].map((c) => c.textContent)"
    assert {text.split()[0] for text in session.run(f"return {ends}")} <= {"lost", "-"}
    session.click("#episodes-list tbody a")
    session.wait("document.activeElement.id === 'player-step'")
    session.press("End")
    sides = 1 if name == "eval" else 2
    session.wait(f"document.querySelectorAll('.side dl[data-step=\"{made.STEPS}\"]').length === {sides}")
    session.press("Escape")
    session.wait("!document.getElementById('player').open")
    assert violations(session, axe) == []
    assert session.run("return window.evil") is None
    assert session.errors() == []


def violations(session, axe):
    session.run(axe)
    session.run("window.found = null; axe.run().then((r) => { window.found = r.violations; })")
    session.wait("window.found !== null")
    return session.run("return window.found.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 200)).slice(0, 3)])")


def test_a_live_page_loads_itself_again_until_the_run_is_complete(session, tmp_path):
    with made.registered():
        path = made.run(tmp_path / "run", complete=False)
        page = run_report.report(path, live=Live(1))
        session.open(page)
        choose(session, outcome="lost")
        session.run("window.before = 1")
        session.wait("window.before === undefined && document.readyState === 'complete'")
        assert session.run("return document.getElementById('f-outcome').value") == "lost"  # what was chosen is kept
        run_report.report(made.run(tmp_path / "whole"), page, live=Live(1))
        session.wait("document.querySelector('h1').textContent.includes('rose')")
    assert '"live_s":0' in page.read_text()
    assert session.errors() == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The source of axe-core."""
    if "AXE" in os.environ:
        return Path(os.environ["AXE"]).read_text()
    if not shutil.which("npm"):
        pytest.skip("no npm to get axe-core with; valid: AXE, the path of axe.min.js")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", "--silent", "axe-core@4"]
    packed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if packed.returncode:
        pytest.skip(f"npm has no axe-core: {packed.stderr[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize(("fragment", "dark"), [("", False), ("#start=0", True)])
def test_contrast_and_labels_pass_axe(at, axe, fragment, dark):
    session = at(fragment, dark=dark)
    if fragment:
        session.wait("document.querySelector('#side-0 canvas').dataset.step === '0'")
    assert violations(session, axe) == []
