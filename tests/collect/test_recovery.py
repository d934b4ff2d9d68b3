"""What is played again of a worker that dies, without processes."""

from collections import deque
from pathlib import Path

import pytest

from agent.collect.budget import Spent
from agent.collect.processes.pool import Death
from agent.collect.processes.recovery import BARREN, Playing, check_broken
from agent.collect.processes.serving import Call
from agent.collect.processes.watched import Finished
from agent.collect.rollout import Start
from agent.config import Limits, run
from agent.organise.episode import Episode
from envs.errors import UserError
from envs.validation import checked


def play(n, n_envs, culprits, is_seen, begins=True):
    """The episodes of n starts, of a worker that dies whenever it steps one of the culprits; and how often it died.

    is_seen: the pulse says which environment was at work.
    """
    starts = [Start(seed) for seed in range(n)]
    counted, deaths = Spent(), 0

    def ended(episode, spent):
        nonlocal counted
        counted += spent

    playing = Playing("toy", [starts], lambda some: Call(print, (some,)), n_envs, 1.0, ended)
    while not playing.is_done:
        some = playing.take(0).args[0]
        begun = deque(some[:n_envs])
        waiting = deque(some[n_envs:])
        while begun:  # all begun play in lockstep: a culprit kills before any other finishes
            bad = next((start for start in begun if start.seed in culprits), None)
            if bad or not begins:
                at = some.index(bad) if bad and is_seen else None
                playing.died(0, Death("was killed", len(some) - len(waiting) if begins else 0, at))
                deaths += 1
                break
            start = begun.popleft()
            playing.heard(0, Finished(Episode("toy", start.seed), Spent(env_steps=1)))
            begun.extend([waiting.popleft()] if waiting else [])
        else:
            playing.returned(0, None)
    assert sorted(seed for seed, _ in playing.finished) == list(range(n))
    assert counted.env_steps == n - len(culprits)
    return [e for e in playing.finished.values() if e.ending == "broken"], deaths


@pytest.mark.parametrize(("is_seen", "deaths"), [(True, 2), (False, 8)])
def test_one_culprit_among_many_costs_few_deaths(is_seen, deaths):
    broken, died = play(200, 64, {70}, is_seen)
    assert [(e.seed, e.error) for e in broken] == [(70, "worker was killed")]
    assert died <= deaths


@pytest.mark.parametrize("is_seen", [True, False])
def test_several_culprits_take_no_other_with_them(is_seen):
    broken, died = play(40, 8, {0, 1, 7, 8, 39}, is_seen)
    assert sorted(e.seed for e in broken) == [0, 1, 7, 8, 39]
    assert died <= 5 * 5


def test_a_worker_that_dies_before_an_episode_begins_ends_the_run():
    with pytest.raises(
        UserError, match=rf"{BARREN} times, a worker was killed before its first episode of 'toy' began"
    ):
        play(4, 2, set(), True, begins=False)


def test_the_causes_of_broken_episodes_are_counted(toy_task):
    errors = ["MujocoException: NaN in qacc"] * 3 + ["worker was killed by signal 9\ndetails"] * 2
    episodes = [Episode("reach", i, ending="broken", error=error) for i, error in enumerate(errors)]
    whole = [Episode("reach", 10 + i) for i in range(5)]
    check_broken("practise reach", episodes + whole, 0.5)
    check_broken("practise reach", [], 0.0)
    with pytest.raises(UserError) as raised:
        check_broken("practise reach", episodes + whole[:4], 0.5)
    assert str(raised.value) == (
        "5 of 9 episodes of 'practise reach' broke, more than limits.broken = 0.5 of them: "
        "3 x MujocoException: NaN in qacc, 2 x worker was killed by signal 9"
    )


def test_a_limit_that_cannot_be_measured_is_refused(monkeypatch):
    assert checked(Limits, {"memory_gb": 4}).memory_gb == 4
    monkeypatch.setattr(run, "STATM", Path("/nowhere/statm"))
    with pytest.raises(UserError, match=r"memory_gb.*read from /proc.*valid: null"):
        checked(Limits, {"memory_gb": 4})
    assert checked(Limits, {"memory_gb": None}).memory_gb is None
