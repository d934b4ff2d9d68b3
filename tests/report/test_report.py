"""The report of a run: what it reads, what it computes, and that a bad folder is one line."""

import json

import made
import numpy as np
import pytest

from agent.measure.reporting import run_report
from agent.measure.statistics import mcnemar
from agent.organise.store import EpisodeStore
from agent.record.report import page, sprites
from agent.record.run.journal import Journal
from agent.record.rundir import RunDir
from envs.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def tasks():
    with made.registered():
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return made.run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def report(path):
    return made.twin(run_report.report(path))


def test_the_numbers_are_those_of_the_run(path, report):
    recorded = json.loads((path / "results.json").read_text())
    assert report["verdict"]["gain"] == recorded["heldout_mean"]["gain_points"]
    assert report["verdict"]["env_steps"] == 40 + 2 * (32 + 32) + 40
    assert report["verdict"]["minutes"] == pytest.approx(14 * 6 / 60)
    assert [(row["task"], row["practised"]) for row in report["tasks"]] == [
        (made.TASK, True),
        (made.UNPRACTISED, False),
    ]
    before, after = np.array([0, 1, 0, 0, 1, 0], bool), np.array([1, 1, 0, 1, 1, 0], bool)
    assert report["tasks"][0]["p_value"] == mcnemar(before, after)
    assert [row["state"] for row in report["rounds"]] == ["accepted", "refused"]
    assert report["absent"] == []


def test_rows_and_pairs_are_selected_again_and_traced_to_their_states(path, report):
    rows = sum(len(each["steps"]) for each in report["trained"])
    assert rows == made.SFT_ROWS[2]
    assert {each["round"]: each["first_row"] for each in reversed(report["trained"])} == {1: 0, 2: made.SFT_ROWS[1]}
    assert report["imitated_in"] == {"1": [1, 2], "2": [2]}
    for pair in report["pairs"]:
        chosen, rejected = (report["episodes"][pair[side]["episode"]] for side in ("chosen", "rejected"))
        assert (chosen["success"], rejected["success"]) == (True, False)
        assert chosen["store"] == rejected["store"] == f"round_{pair['round']:03d}/branches"
        stored = {e.attempt: e for e in EpisodeStore(path / chosen["store"])}
        step = stored[chosen["attempt"]].steps[pair["chosen"]["step"]]
        assert pair["state"] == step.fingerprint.hex()
        assert pair["chosen"]["answer"] == step.decision.answer
    assert len(report["pairs"]) == 2


def test_a_failed_episode_names_its_nearest_rows(report):
    failed = [row["after"] for row in report["both"] if not report["episodes"][row["after"]]["success"]]
    assert set(report["nearest"]) == {str(number) for number in failed}
    assert {len(near) for near in report["nearest"].values()} == {made.STEPS}


def test_the_critics_mistakes_are_found(report):
    worst = [report["episodes"][number] for number in report["critic"]["worst"]]
    assert [(e["store"], e["seed"]) for e in worst] == [
        ("round_001/gate/candidate", 1000),
        ("round_002/gate/candidate", 2000),
    ]
    second = report["critic"]["rounds"][1]
    assert second["balanced_accuracy"]["value"] == 0.75
    low, high = second["auroc"]["ci95"]
    assert 0 <= low <= second["auroc"]["value"] <= high <= 1


def test_a_run_that_goes_on_has_no_gain_yet_and_loads_itself_again(tmp_path):
    path = made.run(tmp_path / "run", complete=False)
    run_report.refresh(RunDir(path, resume=True))
    told = made.twin(path / "report.html")
    assert told["verdict"]["gain"] is None
    assert told["verdict"]["before"] == pytest.approx(1 / 3)
    assert f'"live_s":{page.LIVE_S}' in (path / "report.html").read_text()


@pytest.mark.slow
def test_a_follower_ends_with_its_run(tmp_path):
    from agent.commands.training.improve import _followed

    path = made.run(tmp_path / "run", complete=False)
    run = RunDir(path, resume=True)
    with _followed(run, live=True):
        run_report.refresh(run)  # left to the follower
    assert run.follower.returncode == 0
    assert '"live_s":0' in (path / "report.html").read_text()


def test_a_page_that_cannot_be_written_ends_no_run(tmp_path, capsys, monkeypatch):
    path = made.run(tmp_path / "run", complete=False)
    monkeypatch.setattr(page, "_templates", lambda: 1 / 0)
    run_report.refresh(RunDir(path, resume=True))
    said = capsys.readouterr().out
    assert said.startswith("report.html is not written: ZeroDivisionError: division by zero; the run goes on")
    assert said.count("\n") == 1
    assert [file.name for file in path.glob("report*")] == []


def test_what_is_absent_is_said(tmp_path):
    path = made.run(tmp_path / "run")
    (path / "journal.jsonl").unlink()
    part = path / "heldout" / "after" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    told = made.twin(run_report.report(path))
    assert [line.split(":")[0] for line in told["absent"][:1]] == ["journal.jsonl"]
    assert any(str(part) in line and "cannot be read" in line for line in told["absent"])
    assert told["verdict"]["gain"] is not None  # it was recorded


def test_a_declared_task_whose_file_is_elsewhere_is_said(path, tmp_path):
    with made.registered() as registry:
        for name in (made.TASK, made.UNPRACTISED):
            registry.pop(name, None)
        told = made.twin(run_report.report(path, tmp_path / "page.html"))
    assert any(line.startswith("training rows and pairs cannot be selected again: ") for line in told["absent"])
    assert len(told["both"]) == 20


def test_frames_keep_to_their_budget_and_failures_keep_theirs_first(path, tmp_path):
    some = [made.episode(seed, True) for seed in range(6)]
    sizes = {number: len(sprites.encode(e).image) for number, e in enumerate(some)}
    kept = sprites.sprites(enumerate(some), sizes[0] + sizes[1])
    assert sum(len(sprite.image) for sprite in kept.values()) <= sizes[0] + sizes[1]
    assert 0 in kept

    run_report.report(path, tmp_path / "page.html", frames_mb=0.0004)
    told, html = made.twin(tmp_path / "page.html"), (tmp_path / "page.html").read_text()
    framed = [e for e in told["episodes"] if f'id="frames-{e["number"]}"' in html]
    assert 0 < len(framed) < len(told["episodes"])
    lost = {
        n
        for row in told["both"]
        if not told["episodes"][row["after"]]["success"]
        for n in (row["before"], row["after"])
    }
    assert {e["number"] for e in framed} <= lost


def test_a_sprite_holds_each_frame_as_the_policy_saw_it():
    import io

    from PIL import Image

    e = made.episode(3, True)
    sprite = sprites.encode(e)
    sheet = np.asarray(Image.open(io.BytesIO(sprite.image)).convert("RGB"))
    assert sprite.lossless
    for i, step in enumerate(e.steps):
        x, y = i % sprite.columns * sprite.width, i // sprite.columns * sprite.height
        np.testing.assert_array_equal(sheet[y : y + 16, x : x + 16], step.observation.frames[0])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["nowhere"],
            "no run in 'nowhere' (no journal.jsonl, no results.json); valid: the folder of a handeye improve",
        ),
        ([], "handeye report; valid: one of a run's folder, and --index FOLDER"),
        (["--index", "nowhere"], "--index 'nowhere' is no folder; valid: a folder with runs, such as runs"),
        (["run", "--frames-budget", "-1"], "--frames-budget -1; valid: megabytes, at least 0"),
    ],
)
def test_a_bad_argument_is_one_line(here, arguments, line):
    ended = here("report", *arguments)
    assert (ended.returncode, ended.stderr) == (2, f"handeye: error: {line}\n")


def test_a_page_replaces_no_file_of_a_run(here, path):
    before = (path / "results.json").read_bytes()
    ended = here("report", path, "--out", path / "results.html")
    assert ended.returncode == 2
    assert f"would replace '{path / 'results.json'}', which is no report" in ended.stderr
    assert (path / "results.json").read_bytes() == before
    assert "name ends in .html" in here("report", path, "--out", path / "results.json").stderr


def test_the_index_lists_runs_newest_first(tmp_path):
    import os

    from agent.record.report.index import write_index

    for name, age in (("old", 1000), ("arm/seed_0", 0)):
        path = made.run(tmp_path / name)
        for file in ("journal.jsonl", "results.json"):
            os.utime(path / file, (1e9 - age, 1e9 - age))
    run_report.report(tmp_path / "old")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.json").write_text('{"success": 1}')  # of another command
    text = write_index(tmp_path).read_text()
    assert text.index("arm/seed_0") < text.index('<a href="old/report.html">old</a>')
    assert "other" not in text
    with pytest.raises(UserError, match="no run in"):
        write_index(tmp_path / "other")


def test_the_journal_and_results_are_only_read(path):
    before = {
        file: file.read_bytes() for file in path.rglob("*") if file.is_file() and not file.name.startswith("report")
    }
    run_report.report(path)
    assert {file: file.read_bytes() for file in before} == before
    assert Journal(path).lost == 0
