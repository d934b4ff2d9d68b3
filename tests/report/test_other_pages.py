"""Pages beside that of a run: curves of what is named beside it, comparisons, evaluations, audits, and their list."""

import json

import made
import pytest

from agent.measure.compare import difference
from agent.measure.reporting import compare_report, run_report
from agent.record.report.beside import MEAN, is_comparison
from agent.record.report.index import write_index
from envs.errors import UserError

ARMS = {"plain": ("110100", "010010"), made.TAG: ("111110", "111100")}  # outcomes after, of each seed


@pytest.fixture(scope="module", autouse=True)
def tasks():
    with made.registered():
        yield


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """The folder of a `handeye compare` of two arms and two seeds."""
    folder = tmp_path_factory.mktemp("compared") / "arms"
    for arm, outcomes in ARMS.items():
        for seed, after in enumerate(outcomes):
            made.run(folder / arm / f"seed_{seed}", after=after)
    (folder / "table.json").write_text(json.dumps({"against": "plain", "arms": {arm: {} for arm in ARMS}}))
    return folder


def test_a_baseline_is_on_the_runs_own_axis(tmp_path):
    path, beside = made.run(tmp_path / "run"), made.baseline(tmp_path / "ppo")
    page = run_report.report(path, beside=[beside])
    told = made.twin(page)
    assert list(told["curves"]) == [made.TASK]  # what the baseline measured
    own, other = told["curves"][made.TASK]
    assert [steps for steps, _ in own["heldout"]] == [0, 2 * (32 + 8)]  # before the first step of training, and after
    assert [rate_["k"] for _, rate_ in own["heldout"]] == [2, 4]
    assert own["practice"] == [[32, 0.5], [72, 0.5]]
    assert (other["name"], other["practice"]) == ("ppo from state", [[30, 0.1], [60, 0.3], [90, 0.6]])
    assert "ppo from state: 50 % after 90 steps" in page.read_text()
    assert made.twin(run_report.report(path))["curves"] == {}  # nothing is named


def test_what_has_no_task_in_common_is_named(tmp_path):
    path, beside = made.run(tmp_path / "run"), made.baseline(tmp_path / "ppo")
    told = json.loads((beside / "baseline.json").read_text())
    told["config"]["task"] = "pong"
    (beside / "baseline.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="measured pong; valid: one that measured toy"):
        run_report.report(path, beside=[beside])
    with pytest.raises(UserError, match=r"has no baseline\.json, no table\.json, and no run"):
        run_report.report(path, beside=[tmp_path])


def test_the_numbers_of_a_comparison_are_those_of_its_table(arms):
    told = made.twin(compare_report.report(arms))
    results = {
        arm: [json.loads((arms / arm / f"seed_{i}" / "results.json").read_text()) for i in (0, 1)] for arm in ARMS
    }
    first, second = told["arms"]
    assert (first["arm"], first["less"]) == ("plain", None)
    assert [second["less"], second["less_ci95"]] == list(difference(results[second["arm"]], results["plain"]))
    assert second["after"] == [run["heldout_mean"]["after"] for run in results[second["arm"]]]
    assert {row["less"] for row in told["tasks"] if row["arm"] == "plain"} == {None}
    assert len(told["curves"][MEAN]) == 4
    assert len(told["both"]) == 2 * 2 * 6  # seeds, tasks, starts
    for row in told["both"]:
        before, after = (told["episodes"][row[side]] for side in ("before", "after"))
        assert before["store"].startswith("plain/seed_")
        assert (before["task"], before["seed"]) == (after["task"], after["seed"])
    assert told["absent"] == []
    assert made.TAG not in (arms / "report.html").read_text()


def test_an_unfinished_run_is_named_and_counted_in_nothing(arms, tmp_path):
    import shutil

    copy = shutil.copytree(arms, tmp_path / "arms")
    results = json.loads((copy / "plain" / "seed_1" / "results.json").read_text())
    (copy / "plain" / "seed_1" / "results.json").write_text(json.dumps(results | {"complete": False}))
    told = made.twin(compare_report.report(copy))
    assert told["arms"][0]["seeds"] == [0]
    assert "plain/seed_1: not complete" in told["absent"]
    assert not is_comparison(copy / "plain" / "seed_1")


def test_arms_are_drawn_beside_a_run(arms, tmp_path):
    told = made.twin(run_report.report(made.run(tmp_path / "run"), beside=[arms]))
    assert [curve["name"] for curve in told["curves"][made.TASK]] == ["this run", *("plain",) * 2, *([*ARMS][1],) * 2]


def test_the_page_of_an_evaluation(tmp_path):
    page = made.evaluated(tmp_path / "page.html")
    told = made.twin(page)
    assert (told["kind"], told["tasks"][0]["before"]["k"], len(told["both"])) == ("measured", 2, 4)
    assert told["judged"][0]["scores"]["n"] == 4 * made.STEPS
    assert made.EVIL not in page.read_text()


def test_the_page_of_an_audit(tmp_path):
    page = made.audited(tmp_path / "page.html")
    told = made.twin(page)
    assert (told["tasks"][0]["before"]["k"], told["tasks"][0]["after"]["k"], told["tasks"][0]["gain"]) == (1, 3, 50)
    assert [row["where"] for row in told["both"]] == ["held-out"] * 4 + ["sampled"] * 2
    assert dict(told["table"])["failures among them"] == ["3 of 4"]
    assert made.EVIL not in page.read_text()


def test_the_index_lists_what_other_commands_left(arms, tmp_path):
    made.baseline(tmp_path / "ppo")
    made.evaluated(tmp_path / "reach.html")
    text = write_index(tmp_path).read_text()
    assert 'href="reach.html"' in text
    assert "50 % [19, 81] after 90 steps" in text
    compare_report.report(arms)
    assert "against plain" in write_index(arms.parent).read_text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["eval", "reach", "--report", "page.txt"], "--report 'page.txt'; valid: a file whose name ends in .html"),
        (
            ["eval", "reach", "--tracking.mode", "offline"],
            "tracking without a file: metrics are kept beside one; valid: --report FILE or --json FILE too",
        ),
        (
            ["eval", "reach", "--report", "a.html", "--json", "a.json"],
            "--report 'a.html' has its own JSON, 'a.json'; valid: another name for --json",
        ),
        (["report", "--index", "runs", "--beside", "a"], "--beside with --index; valid: with a run's folder"),
    ],
)
def test_a_bad_option_is_one_line(here, arguments, line):
    ended = here(*arguments)
    assert (ended.returncode, ended.stderr) == (2, f"handeye: error: {line}\n")


@pytest.mark.slow
def test_an_evaluation_leaves_a_page_and_metrics(typed, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    page = tmp_path / "reach.html"
    options = ("--policy", "expert", "--episodes", "2", "--report", page, "--tracking.sinks", "tensorboard")
    done = typed("eval", "reach", *options)
    assert done.returncode == 0, done.stderr
    told = made.twin(page)
    assert told["command"] == "handeye eval reach --policy expert --episodes 2"
    assert len(told["episodes"]) == 2
    (line,) = (tmp_path / "reach.html.metrics" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["held-out/reach/success"] == 1
    assert any((tmp_path / "reach.html.metrics" / "tensorboard").iterdir())
