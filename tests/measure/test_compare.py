"""Arms of an experiment are compared by seed on the same episodes; finished runs are not run again."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from agent.collect.branching import within
from agent.commands.checks import check_improve
from agent.commands.training.improve import improve
from agent.config import Config, Experiment, Tracking, load
from agent.measure.compare import arm_numbers, compare_arms, configs, difference, table, track
from agent.record import provenance
from agent.record.run import resume
from agent.record.rundir import RunDir
from agent.record.tracking.sinks import Sinks
from envs.errors import UserError
from policies.base import find_policy
from tests.record.tracking.metric_names import undocumented


def results(*outcomes, tasks=("reach", "push")):
    """A run's results, the outcomes given task by task."""
    heldout = {
        task: {"outcomes": {"before": "0" * len(text), "after": text}}
        for task, text in zip(tasks, outcomes, strict=True)
    }
    mean = np.mean([np.mean([int(c) for c in text if c != "-"]) for text in outcomes])
    return {
        "heldout": heldout,
        "heldout_mean": {"after": float(mean)},
        "budget": {"practice_env_steps": 6000, "branch_env_steps": 10, "wall_s": 120.0},
        "rounds": [{"sft_examples": 100, "pairs": 7}],
    }


def test_other_starts_are_not_paired():
    """Held-out seeds are distinct starts since they are told apart: a run from before has others."""
    run, other = results("11", tasks=("reach",)), results("10", tasks=("reach",))
    run["heldout"]["reach"]["seeds"], other["heldout"]["reach"]["seeds"] = [1, 2], [1, 3]
    with pytest.raises(UserError, match="'reach' was evaluated on different starts"):
        difference([run], [other])
    other["heldout"]["reach"]["seeds"] = [1, 2]
    assert difference([run], [other])[0] == 50.0


def test_the_difference_is_of_paired_episodes_task_by_task():
    better, worse = results("1111", "10"), results("1100", "10")
    points, (low, high) = difference([better], [worse])
    assert points == 25.0  # the mean of 50 and 0
    assert 0 <= low <= 25 <= high <= 50
    assert difference([worse], [better])[0] == -25.0


def test_broken_episodes_are_left_out_of_both():
    assert difference([results("1-11", "1")], [results("10-0", "1")])[0] == 25.0  # 0 of the first, +1 of the last


def test_the_interval_covers_seeds_that_disagree():
    good, bad = results("1" * 50, "1" * 50), results("0" * 50, "0" * 50)
    points, (low, high) = difference([good, bad], [bad, good])
    assert points == 0
    assert (low, high) == (-100, 100)


def test_other_episodes_are_refused():
    with pytest.raises(UserError, match="'push' was evaluated on 3 episodes, and on 2"):
        difference([results("11", "101")], [results("11", "10")])


def test_the_table_has_a_row_for_each_arm():
    arms = {"sft": [results("10", "10")] * 2, "pairs": [results("11", "10")] * 2}
    lines = table(arms, "sft").splitlines()
    assert re.fullmatch(r"\| sft \| 50.0 % \| 50, 50 \| \+50 \[.*\] \|  \| 6,000 \| 10 \| 100 \| 7 \|", lines[2])
    assert re.match(r"\| pairs \| 75.0 % \| 75, 75 \| \+75 \[.*\] \| \+25 \[", lines[3])
    assert re.match(r"\| sft \| 50.0 % \| 50, 50 \| \+50 \[.*\] \| -25 \[", table(arms, "pairs").splitlines()[2])


def test_a_comparison_is_logged_whenever_it_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(Sinks, "_begin", lambda *given: None)
    config = Config("seed", ("reach",), tracking=Tracking(group="arms"))
    arms = {"sft": [results("10", "10")] * 2, "pairs": [results("11", "10")] * 2}
    for _ in range(2):
        track(tmp_path, config, arm_numbers(arms, "sft"), "sft")
    arms["pairs"].append(results("11", "11"))
    arms["sft"].append(results("10", "10"))
    track(tmp_path, config, arm_numbers(arms, "sft"), "sft")
    first, second = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert (first["step"], first["arms/pairs/seeds"], first["arms/pairs/difference"]) == (0, 2, 25.0)
    assert (second["step"], second["arms/sft/seeds"]) == (1, 3)
    assert undocumented(second, "X-axes", "Other commands") == []


@pytest.mark.parametrize(
    ("size", "limit", "n"), [(2, 100, 10), (2, 100.0, 10), (3, 90, 9), (4, 30, 4), (50, 1, 20), (2, None, 20)]
)
def test_play_ends_near_the_limit(episode, size, limit, n):
    batches = []

    def play(seeds):
        batches.append(len(seeds))
        return [episode([(1, 0)] * 10, seed=seed) for seed in seeds]

    assert len(within(limit, range(20), size, play)) == n
    assert max(batches) <= (20 if limit is None else size)
    assert within(limit, [], size, play) == []


# runs ------------------------------------------------------------------------------------------------------------
def run(left):
    for config in left:
        improve(config, overwrite=True)


def test_an_arm_is_the_base_with_keys_changed(comparison, tmp_path):
    made = configs(comparison, tmp_path / "out")
    assert {arm: [config.seed for config in runs] for arm, runs in made.items()} == {
        "plain": [0, 1],
        "branches": [0, 1],
    }
    changed = made["branches"][1]
    assert (changed.collect.attempts, changed.branch.failures, changed.branch.where) == (2, 1, "uniform")
    assert changed.sft == {"max_steps": 1, "learning_rate": 5e-05}
    assert changed.out == str(tmp_path / "out" / "branches" / "seed_1")
    assert (changed.tracking.group, changed.tracking.tags) == ("out", ("branches",))


def test_a_bad_arm_is_named_before_anything_runs(comparison, tmp_path):
    comparison.arms["worse"] = {"branch.wher": "uniform"}
    with pytest.raises(UserError, match="wher"):
        compare_arms(comparison, tmp_path / "out", check_improve, run)
    with pytest.raises(UserError, match=r"unknown arm 'plian' \(did you mean 'plain'\?\); valid: "):
        compare_arms(comparison, tmp_path / "out", check_improve, run, "plian")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_runs_are_made_once(comparison, tmp_path, monkeypatch):
    out, comparison = tmp_path / "out", replace(comparison, seeds=(1,))
    text = compare_arms(comparison, out, check_improve, run)
    assert (out / "table.md").read_text() == text
    assert text.count("\n| ") == 3
    done = {path: path.stat().st_mtime_ns for path in out.glob("*/seed_*/results.json")}
    assert len(done) == 2
    assert compare_arms(comparison, out, check_improve, run) == text
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_a_table_says_what_is_left(arms, tmp_path, capsys):
    arms()
    assert "(1 of 2 left, 1 at once: about 2 minutes, 2.0 each)" in capsys.readouterr().out


@pytest.fixture
def ran():
    """Runs that end at once: their configs, each with whether it went on. `ran.complete` is what their results say."""

    class Ran(list):
        complete = True

        def __call__(self, left):
            for config in left:
                self.run(config)

        def run(self, config):
            path = Path(config.out)
            resume = (path / "journal.jsonl").is_file()
            run = RunDir(path, resume=resume)
            told = provenance.at_beginning(config, find_policy(config.policy))
            run.begin(asdict(config), provenance.versions(), told)
            made = results("10", tasks=("reach",)) | {"complete": self.complete}
            run.write_results(made | {"rounds": made["rounds"] * config.rounds})
            run.close()
            self.append((f"{path.parent.name} {path.name}", resume))

    return Ran()


@pytest.fixture
def arms(comparison, tmp_path, ran):
    """Compares the arms again, with common keys changed: the runs that were made."""

    def compare(**changes):
        ran.clear()
        common = {**comparison.common, **{key.replace("__", "."): value for key, value in changes.items()}}
        compare_arms(replace(comparison, seeds=(0,), common=common), tmp_path / "out", lambda config: None, ran)
        return list(ran)

    return compare


NEW, ON = [[("plain seed_0", resumed), ("branches seed_0", resumed)] for resumed in (False, True)]


def aside(tmp_path):
    return list((tmp_path / "out").glob("*/.seed_0.stale-*"))


def test_a_run_is_taken_only_where_it_is_what_would_be_run_now(arms, tmp_path, capsys, monkeypatch):
    assert arms() == NEW
    assert arms() == []
    assert arms(workers=2, tracking__mode="offline") == []  # results do not depend on these
    assert aside(tmp_path) == []
    capsys.readouterr()
    assert arms(gate__episodes=2) == NEW
    said = capsys.readouterr().out
    old = tmp_path / "out" / "plain" / "seed_0"
    assert f"stale    {old}: {str(old)!r} began with another config: gate.episodes = 2 (was 1); moved aside as" in said
    assert [json.loads((path / "results.json").read_text())["complete"] for path in aside(tmp_path)] == [True, True]
    assert arms(gate__episodes=2) == []
    with monkeypatch.context() as patch:
        patch.setattr(resume, "versions", lambda: provenance.versions() | {"torch": "0.1"})
        assert arms(gate__episodes=2) == NEW
    assert "it was made by other versions: torch 0.1 (was " in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(resume, "source", lambda: provenance.source() | {"commit": "other"})
        assert arms(gate__episodes=2) == NEW
    assert "commit other (was " in capsys.readouterr().out


def test_another_seed_policy_is_another_arm(arms, comparison, nano_checkpoint, tmp_path, capsys):
    shutil.copytree(nano_checkpoint, tmp_path / "policy")
    assert arms(policy=str(tmp_path / "policy")) == NEW
    assert arms(policy=str(tmp_path / "policy")) == []
    weights = tmp_path / "policy" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert arms(policy=str(tmp_path / "policy")) == NEW
    assert "has other weights than when" in capsys.readouterr().out


def test_what_is_unfinished_goes_on_where_it_fits(arms, ran, tmp_path):
    ran.complete = False
    assert arms() == NEW
    assert arms() == ON
    ran.complete = True
    assert arms() == ON
    assert arms() == []
    assert arms(rounds=2) == ON  # more of them
    assert arms(rounds=2) == []
    (tmp_path / "out" / "plain" / "seed_0" / "results.json").write_text("{")
    assert arms(rounds=2) == ON[:1]
    ran.complete = False
    assert arms(gate__episodes=2) == NEW
    assert len(aside(tmp_path)) == 2


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '"x"', "7", "{}", '{"complete": true}', '{"complete": true, "rounds": 3}'),
        *(
            '{"complete": true, "rounds": []}',
            '{"complete": true, "rounds": null}',
            '{"complete": true, "rounds": [{}]}',
            "\x00\xff",
            "[" * 100_000,
        ),
    ],
    ids=lambda text: text[:40],
)
def test_results_that_are_none_are_made_again(arms, tmp_path, text):
    assert arms() == NEW
    (tmp_path / "out" / "plain" / "seed_0" / "results.json").write_text(text, "latin-1")
    assert arms() == ON[:1]
    assert aside(tmp_path) == []


def test_what_is_no_run_is_in_the_way_before_the_first(arms, tmp_path):
    folder = tmp_path / "out" / "branches" / "seed_0"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text('{"complete": true}')
    with pytest.raises(UserError, match="branches/seed_0' holds no run of ours; valid: another out, or first delete"):
        arms()
    assert not (tmp_path / "out" / "plain").exists()
    assert [path.name for path in folder.iterdir()] == ["results.json"]


def test_a_stale_run_that_another_process_writes_is_left(arms, tmp_path):
    assert arms() == NEW
    run = RunDir(tmp_path / "out" / "plain" / "seed_0", resume=True)
    with pytest.raises(UserError, match="another process writes into"):
        arms(gate__episodes=2)
    run.close()
    assert aside(tmp_path) == []


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/experiments/*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_that_ship_can_run(path, monkeypatch):
    """Every arm has the same limit of environment steps, but for arms whose cost is not known before: those that
    relabel, and GRPO's rewards."""
    monkeypatch.chdir(ROOT)
    runs = configs(load(path, kind=Experiment), Path("runs"))
    for arm in runs.values():
        check_improve(arm[0])
    played = [c for arm in runs.values() for c in arm if not c.select.relabel and "grpo" not in c.optimise]
    branched = [c.branch.env_steps if c.branch.starts or c.branch.failures else 0 for c in played]
    assert len({c.collect.env_steps + steps for c, steps in zip(played, branched, strict=True)}) == 1
