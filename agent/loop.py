"""The loop: practise, imitate successes, branch from failures, prefer the better answers, pass the gate, repeat.

This is the only file that knows the order of the stages. After Deng et al. (2025), "Self-Improvement in Multimodal
Large Language Models: A Survey": data collection, data organisation, model optimisation, repeated.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.collect.workers import Workers
from agent.config import Config
from agent.measure.statistics import heldout_gains
from agent.optimise.health import UnhealthyError
from agent.record.provenance import declared_tasks, source, versions, weights_sha256
from agent.record.rundir import RunDir
from agent.record.tables import Report
from agent.record.tracking import Tracker
from agent.stages.branch import branch
from agent.stages.criticise import criticise
from agent.stages.evaluate import evaluate, film
from agent.stages.gate import gate
from agent.stages.imitate import imitate
from agent.stages.practise import practise
from agent.stages.prefer import prefer
from agent.stages.refuse import refuse
from agent.stages.relabel import relabel
from agent.stages.round import SPENT, Round
from policies.backends.loading import placement
from policies.base import find_policy


def improve(config: Config, run: RunDir, workers: Workers) -> dict[str, Any]:
    """Improve the policy of `config` for `config.rounds` rounds; returns what results.json holds."""
    started, budget, rows = time.monotonic(), dict.fromkeys(SPENT, 0), []
    run.write_config(asdict(config))
    tracker, report = Tracker(run.path, config.tracking, asdict(config)), Report(run)
    start = Round(0, config, run, workers, tracker, budget)
    incumbent = find_policy(config.policy)
    provenance = provenance_of(config, incumbent)
    before = evaluate(start, incumbent, "before")
    film(start, incumbent)

    for number in range(1, config.rounds + 1):
        r = Round(number, config, run, workers, tracker, budget)
        row = {"round": number} | one_round(r, incumbent)
        if row["accepted"]:
            incumbent = r.candidate
        rows.append(row)
        report.round(row)
        tracker.log_tree("round", row)

    after = evaluate(start, incumbent, "after")
    start.charge(workers.take_spent())
    results = {
        "schema": 1,
        "complete": True,
        "config": asdict(config),
        "versions": versions(),
        "model": placement(incumbent, config.model),
        "provenance": provenance | {"policy": weights_sha256(incumbent)},
        "certified": config.collect.certify,
        "budget": budget,
        "rounds": rows,
        **heldout_gains(before, after),
        "policy": str(incumbent),
    }
    budget["wall_s"] = time.monotonic() - started
    run.write_results(results)
    report.end(results)
    tracker.close()
    return results


def provenance_of(config: Config, policy: Path) -> dict[str, Any]:
    """Provenance of a run at its beginning: the code, the seed policy's weights, and the content of declared tasks."""
    tasks = declared_tasks((*config.tasks, *config.evaluation.tasks))
    return {"source": source(), "seed_policy": weights_sha256(policy), "tasks": tasks}


def one_round(r: Round, incumbent: Path) -> dict[str, Any]:
    """Run the stages of a round, each from folders into a folder; returns the round's row of results.json."""
    row = practise(r, incumbent)  # data collection
    row |= relabel(r)
    try:
        row |= imitate(r, incumbent)  # data organisation and model optimisation: SFT on successes
        row |= branch(r)  # data collection: measured outcomes of other answers at the same states
        row |= prefer(r)  # data organisation and model optimisation: DPO on pairs
    except UnhealthyError as fault:
        return refuse(fault) | row  # the incumbent stays
    row |= gate(r, incumbent)
    row |= criticise(r)
    film(r, r.candidate)
    return row
