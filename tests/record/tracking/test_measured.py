"""What `handeye eval` and `handeye audit` log, and that docs/metrics.md has each name."""

import json

from agent.config import Tracking
from agent.measure.statistics import best_of, heldout_gains, rate, successes, verdict_scores
from agent.record.tracking import Tracker
from agent.record.tracking.measured import log_audit, log_evaluation
from tests.record.tracking.metric_names import undocumented


def logged(folder):
    (line,) = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return line


def test_an_evaluation_has_the_names_of_held_out_episodes(folder, episode):
    played = [episode([(1, 0)], success=seed < 2, seed=seed) for seed in range(3)]
    played.append(episode([(1, 0)], ending="broken", seed=9))
    tracker = Tracker(folder, Tracking("disabled"), {})
    log_evaluation(tracker, {"task": "toy", "split": "heldout", "result": rate(successes(played))}, played)
    tracker.close()
    line = logged(folder)
    assert (line["held-out/toy/success"], line["held-out/toy/broken"]) == (2 / 3, 1)
    assert undocumented(line.keys() - {"step"}, "Other commands") == []


def test_an_audit_has_a_number_for_each_row_of_its_table(folder, episode):
    sides = [[episode([(1, 0)], success=won, seed=i) for i, won in enumerate(some)] for some in ((0, 1), (1, 1))]
    scores = verdict_scores([0.9, 0.2], [True, False])
    acting = heldout_gains({"toy": sides[0]}, {"toy": sides[1]})["heldout"]["toy"]
    numbers = {
        "ends": scores,
        "ends_beside": scores,
        "answers": scores,
        "within": best_of([[(0.9, True), (0.1, False)]]),
    }
    numbers |= {"shuffled_ends": 0.5, "shuffled_answers": float("nan"), "acting": acting}
    numbers |= {"best_of": {"greedy": 0.5, "critic": 0.75, "oracle": 1.0}, "claims": {"critic_within_1": 0.5}}
    tracker = Tracker(folder, Tracking("disabled"), {})
    log_audit(tracker, {"toy": numbers})
    tracker.close()
    line = logged(folder)
    assert line["audit/toy/ends/auroc"] == 1
    assert line["audit/toy/acting/gain/points"] == 50
    assert line["audit/toy/acting/gain/ci95_low"] <= 50
    assert line["audit/toy/shuffled_answers"] is None
    assert undocumented(line.keys() - {"step"}, "Other commands") == []
