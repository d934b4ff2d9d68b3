"""The gate: a candidate passes if it is better on the same episodes overall and worse on no task."""

import re
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import pytest

from agent.collect.workers import Workers
from agent.config import Config, Gate, Select, Tracking
from agent.measure.error_rates import simulate_gate
from agent.measure.gate import Tally, decide, early, final, predicted
from agent.record.rundir import RunDir
from agent.record.tracking import Tracker
from agent.stages.gate import gate
from agent.stages.round import SPENT, Round
from envs.errors import UserError
from envs.validation import checked
from policies.critic import Critique

GATE = 1_000_000  # the first seed of its split
POOLED = Gate(p_value=1.0, worst_task=0)


def made(episode, task, letters):
    """Episodes of a task, one a letter: + success, - failure, x broken."""
    return [
        episode([(1, 0)], letter == "+", seed=i, task=task, ending="broken" if letter == "x" else None)
        for i, letter in enumerate(letters)
    ]


@pytest.fixture
def played(episode):
    """Makes episodes of tasks."""
    return lambda **tasks: [e for task, letters in tasks.items() for e in made(episode, task, letters)]


@pytest.mark.parametrize(
    ("before", "after", "max_p", "accepted"),
    [
        ("-----", "+++++", 0.1, True),  # p = 1/16
        ("-----", "+++++", 0.05, False),
        ("+++++", "-----", 1.0, False),  # worse, however sure
        ("+-+-+", "+-+-+", 1.0, False),  # the same
        ("+----", "-+---", 1.0, False),  # as many, but others
        ("+----", "-++--", 1.0, True),
        ("+----", "-++--", 0.5, False),  # p = 1
    ],
)
def test_better_and_sure_enough(played, before, after, max_p, accepted):
    assert decide(played(reach=before), played(reach=after), Gate(p_value=max_p)).accepted is accepted


def test_the_verdict_holds_its_measurement(played):
    verdict = decide(played(reach="+---", push="----"), played(reach="++--", push="++--"), Gate())
    assert verdict.accepted
    assert verdict.p_value == pytest.approx(0.25)
    assert (verdict.before["k"], verdict.after["k"]) == (1, 4)
    assert verdict.before["n"] == verdict.after["n"] == 8
    assert verdict.reason == "better: 3 gained, 0 lost, p 0.25"
    assert verdict.episodes == 4
    push = verdict.row()["tasks"]["push"]
    assert (push["before"]["k"], push["after"]["k"], push["gained"], push["lost"], push["p_worse"]) == (0, 2, 2, 0, 1.0)
    assert set(verdict.row()) == {"before", "after", "p_value", "tasks", "reason", "episodes"}


def test_a_loss_in_one_task_can_outweigh_a_gain_in_another(played):
    verdict = decide(played(reach="----", push="++++"), played(reach="++--", push="----"), POOLED)
    assert not verdict.accepted
    assert verdict.reason == "not better: 2 gained, 4 lost, p 0.69"


# a worse task ----------------------------------------------------------------------------------------------------
def test_a_gain_in_one_task_does_not_pay_for_a_loss_in_another(played):
    before, after = played(reach="-" * 30, push="+" * 8), played(reach="+" * 30, push="-" * 6 + "++")
    verdict = decide(before, after, Gate())
    assert not verdict.accepted
    assert verdict.reason == "worse on push: 0 gained, 6 lost, p 0.016"  # 1/64
    assert verdict.p_value < 1e-4  # in all it is better
    assert decide(before, after, Gate(worst_task=0)).accepted
    assert decide(before, after, Gate(worst_task=0.03)).accepted  # 2/64 is more


def test_a_loss_that_chance_explains_is_no_reason(played):
    """5 lost of 5 on one of two tasks: p 1/32, twice that is above 0.05."""
    verdict = decide(played(reach="-" * 30, push="+" * 5), played(reach="+" * 30, push="-" * 5), Gate())
    assert verdict.accepted


def test_more_tasks_need_more_evidence():
    rule = Gate()
    gains, loss = Tally(40, 0, 60), Tally(0, 6, 60)
    assert not final({"a": gains, "b": loss}, rule)[0]
    assert final({"a": gains, "b": loss, "c": gains, "d": gains}, rule)[0]


# broken episodes -------------------------------------------------------------------------------------------------
def test_a_crash_is_no_failure(played):
    verdict = decide(played(reach="++++"), played(reach="xxx+"), POOLED)
    assert (verdict.before["k"], verdict.before["n"]) == (1, 1)
    assert not verdict.accepted


def test_a_crash_on_either_side_leaves_both(played):
    verdict = decide(played(reach="x+--"), played(reach="+x-+"), POOLED)
    assert (verdict.before["n"], verdict.after["n"], verdict.after["k"], verdict.episodes) == (2, 2, 1, 4)


def test_a_task_that_always_breaks_is_no_measurement(played):
    before, after = played(reach="++", push="+x"), played(reach="++", push="x+")
    assert decide(before, after, Gate(), {"reach": 2, "push": 2}) is None  # it may still be played whole
    with pytest.raises(UserError, match="no episode of 'push' was played whole before and after; the first: RuntimeE"):
        decide(before, after, Gate())
    with pytest.raises(UserError, match="there are none"):
        decide([], [], Gate())


def test_other_episodes_are_no_comparison(played):
    with pytest.raises(ValueError, match="different starts"):
        decide(played(reach="+-"), played(reach="+-+"), POOLED)


# stopping early --------------------------------------------------------------------------------------------------
LEFT = {"reach": 40, "push": 40}


def tallies(reach, push, pairs=20):
    return {"reach": Tally(*reach, pairs), "push": Tally(*push, pairs)}


@pytest.mark.parametrize(
    ("reach", "push", "accepted", "reason"),
    [
        ((9, 0), (6, 1), True, "better: 15 gained, 1 lost, e-value"),
        ((0, 9), (1, 6), False, "worse on reach: 0 gained, 9 lost"),
        ((2, 7), (2, 7), False, "not better: 4 gained, 14 lost.*with a probability of"),
        ((3, 3), (3, 2), None, ""),
        ((18, 0), (0, 3), None, ""),  # push is behind: with all its episodes it may be worse
        ((18, 0), (0, 8), False, "worse on push: 0 gained, 8 lost"),
    ],
)
def test_it_stops_where_it_is_clear(reach, push, accepted, reason):
    decision = early(tallies(reach, push), LEFT, Gate())
    if accepted is None:
        assert decision is None
    else:
        assert decision[0] is accepted
        assert re.match(reason, decision[1])


@pytest.mark.parametrize(("key", "value"), [("alpha", 0), ("alpha", 1), ("batch", 0), ("worst_task", 1.5)])
def test_a_gate_that_cannot_work_is_refused(key, value):
    with pytest.raises(UserError, match=key):
        checked(Gate, {key: value})


def test_who_asks_for_more_is_not_content_with_less():
    """A `p_value` below `alpha` is the level of an early acceptance too."""
    some = tallies((9, 0), (6, 1))
    assert early(some, LEFT, Gate(p_value=0.05))[0]
    assert early(some, LEFT, Gate(p_value=1e-6)) is None


@pytest.mark.parametrize("rule", [Gate(alpha=1e-9), Gate(alpha=1e-9, p_value=1.0), Gate(alpha=1e-9, p_value=0.1)])
def test_what_the_episodes_left_cannot_change_is_what_they_do_not_change(rule):
    """Every way in which 3 and 2 episodes of two tasks can end decides as the curtailed gate did."""
    left, clear = {"reach": 3, "push": 2}, 0
    ends = {n: [(g, lost) for g in range(n + 1) for lost in range(n + 1 - g)] for n in left.values()}
    for reach, push in product(product(range(0, 9, 2), repeat=2), repeat=2):
        now = tallies(reach, push)
        decision = early(now, left, rule)
        if decision is None or "cannot change it" not in decision[1]:
            continue
        clear += 1
        for (g, lost), (h, missed) in product(ends[3], ends[2]):
            then = {"reach": now["reach"].with_more(g, lost), "push": now["push"].with_more(h, missed)}
            assert final(then, rule)[0] is decision[0]
    assert clear > 100


def test_the_verdict_says_that_it_stopped_early(played):
    verdict = decide(played(reach="-" * 20), played(reach="+" * 20), Gate(), {"reach": 40})
    assert verdict.accepted
    assert verdict.reason.startswith("stopped early, after 20 of 60 episodes of a task: better: 20 gained, 0 lost")
    assert verdict.episodes == 20


def test_the_chance_that_is_left():
    """Of one pair left, by hand: (1 + gained) / (3 + pairs) is the probability that it is gained."""
    assert predicted(Tally(1, 1, 2), 1, 1.0) == pytest.approx(2 / 5, abs=0.02)
    assert predicted(Tally(5, 0, 5), 1, 1.0) == 1
    assert predicted(Tally(0, 5, 5), 4, 1.0) == 0


# error rates -----------------------------------------------------------------------------------------------------
def test_stopping_early_does_not_accept_what_is_no_better():
    fixed, _ = simulate_gate([0.0, 0.0], Gate(sequential=False), repeats=300)
    sequential, episodes = simulate_gate([0.0, 0.0], Gate(), repeats=300)
    assert sequential <= fixed + 0.04
    assert episodes < 52


def test_stopping_early_finds_what_is_better_with_fewer_episodes():
    passes, episodes = simulate_gate([0.4, 0.4], Gate(), repeats=100)
    assert passes > 0.98
    assert episodes < 25
    passes, episodes = simulate_gate([0.2, 0.2], Gate(), repeats=100)
    assert passes > 0.97
    assert episodes < 45


def test_a_worse_task_is_not_hidden_by_a_better_one():
    assert simulate_gate([0.4, -0.3], Gate(worst_task=0), repeats=100)[0] > 0.5
    assert simulate_gate([0.4, -0.3], Gate(), repeats=100)[0] < 0.05


# the stage -------------------------------------------------------------------------------------------------------
class Acted(Round):
    """A round whose policies are named: `wins` has the letters of their episodes, `praise` their critics' verdicts."""

    def __init__(self, episode, folder, wins, praise, **settings):
        config = Config(policy="old", tasks=("reach",), **settings)
        run = RunDir(folder)
        run.begin({}, {}, {})
        super().__init__(1, config, run, Workers(1), Tracker(folder, Tracking("disabled"), {}), dict.fromkeys(SPENT, 0))
        self.playable = {name: made(episode, "reach", letters) for name, letters in wins.items()}
        self.praise, self.played = praise, []

    def rollout(self, title, job):
        self.played.append((job.checkpoint.name, len(job.starts)))
        episodes = [self.playable[job.checkpoint.name][seed - GATE] for seed, _ in job.starts]
        return [replace(e, seed=seed) for e, (seed, _) in zip(episodes, job.starts, strict=True)]

    def concluded(self, job, episodes):
        for e in episodes:
            if e.end:
                e.conclusion = Critique(self.praise[job.checkpoint.name](e), "")
        return episodes


@pytest.fixture
def acted(episode, tmp_path):
    folders = (tmp_path / f"run{i}" for i in count())
    return lambda wins, praise, **settings: Acted(episode, next(folders), wins, praise, **settings)


def honest(e):
    return float(e.success)


def test_the_gate_stops_early_and_keeps_what_was_played(acted):
    r = acted({"old": "-" * 60, "policy": "+" * 60}, {"old": honest, "policy": honest})
    row = gate(r, Path("old"))
    assert row["accepted"]
    assert row["gate"]["episodes"] == 20
    assert sorted(r.played) == [("old", 20), ("policy", 20)]
    assert [len(r.episodes(f"gate/{role}")) for role in ("incumbent", "candidate")] == [20, 20]


def test_unsure_it_plays_all_and_decides_as_the_fixed_gate(acted):
    wins = {"old": "+-" * 30, "policy": "-+" * 29 + "++"}
    r = acted(wins, {"old": honest, "policy": honest}, gate=Gate(alpha=0.01))
    row = gate(r, Path("old"))
    assert row["gate"]["episodes"] == 60
    assert not row["accepted"]
    fixed = acted(wins, {"old": honest, "policy": honest}, gate=Gate(sequential=False))
    assert gate(fixed, Path("old")) == row
    assert sorted(fixed.played) == [("old", 60), ("policy", 60)]


def test_a_candidate_does_not_pass_by_praising_itself(acted):
    """The incumbent's critic judges both; the candidate's own verdicts stay in its store."""
    wins = {"old": "-" * 20, "policy": "-" * 19 + "x"}
    r = acted(wins, {"old": honest, "policy": lambda e: 1.0}, gate=Gate(episodes=20), select=Select(by="critic"))
    row = gate(r, Path("old"))
    assert not row["accepted"]
    assert (row["gate"]["after"]["k"], row["gate"]["after"]["n"]) == (0, 19)  # the broken one leaves both
    assert {e.conclusion.verdict for e in r.episodes("gate/candidate") if e.conclusion} == {1.0}


def test_the_incumbents_critic_is_believed_about_both(acted):
    """Here it calls every other start a success, whatever happened and whoever acted."""
    wins = {"old": "+" * 20, "policy": "-" * 20}
    r = acted(wins, {"old": lambda e: e.seed % 2, "policy": honest}, gate=Gate(episodes=20), select=Select(by="critic"))
    row = gate(r, Path("old"))
    assert row["gate"]["before"]["k"] == row["gate"]["after"]["k"] == 10


def test_a_task_that_only_breaks_ends_the_gate(acted):
    r = acted({"old": "x" * 20, "policy": "+" * 20}, {"old": honest, "policy": honest}, gate=Gate(episodes=20, batch=5))
    with pytest.raises(UserError, match="every episode of 'reach' broke"):
        gate(r, Path("old"))
