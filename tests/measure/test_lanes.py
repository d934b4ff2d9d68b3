"""Runs of an experiment side by side: a process and a log each, and the results of one after the other."""

from dataclasses import replace
from functools import partial

import pytest

from agent.commands.checks import check_improve
from agent.commands.lanes import in_turn, side_by_side
from agent.measure.compare import compare_arms, configs
from envs.errors import UserError


@pytest.mark.slow
def test_runs_side_by_side_have_a_log_each(comparison, tmp_path, capsys):
    out, comparison = tmp_path / "out", replace(comparison, seeds=(1,))
    text = compare_arms(comparison, out, check_improve, partial(side_by_side, lanes=2), lanes=2)
    assert text.count("\n| ") == 3
    said = capsys.readouterr().out
    assert "(2 of 2 left, 2 at once; how long they take is known after the first)" in said
    assert said.count("done     ") == 2
    assert sorted(str(path.relative_to(out)) for path in out.glob("*/*.log")) == [
        "branches/seed_1.log",
        "plain/seed_1.log",
    ]
    assert compare_arms(comparison, out, check_improve, in_turn) == text  # the same runs as one after the other


@pytest.mark.slow
def test_a_run_that_fails_ends_the_others(comparison, tmp_path):
    runs = configs(replace(comparison, seeds=(1,)), tmp_path / "out")
    lost = replace(runs["plain"][0], policy=str(tmp_path / "none"))
    with pytest.raises(
        UserError, match=r"plain/seed_1' ended with status 2: .*no checkpoint in .*its log: '.*seed_1.log'"
    ):
        side_by_side(iter([lost, runs["branches"][0]]), lanes=2)
    assert not (tmp_path / "out" / "branches" / "seed_1" / "results.json").exists()
