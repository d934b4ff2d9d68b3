"""The loop: practise, imitate successes, branch from failures, prefer the better answers, pass the gate, repeat.

This is the only file that knows the order of the stages. After Deng et al. (2025), "Self-Improvement in Multimodal
Large Language Models: A Survey": data collection, data organisation, model optimisation, repeated.

A stage is done once (`agent.stages.stage`): a run that is resumed comes here again, and takes from its journal what was
done before.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.collect.workers import Workers
from agent.config import Config
from agent.config.optimisers import in_order
from agent.measure.reporting import run_report
from agent.optimise.health import UnhealthyError
from agent.record.provenance import at_beginning, versions
from agent.record.rundir import RunDir
from agent.record.tables import Report
from agent.stages.branch import branch
from agent.stages.criticise import criticise
from agent.stages.evaluate import evaluate, film, results
from agent.stages.gate import gate
from agent.stages.log import log, log_gain, tracker_of
from agent.stages.optimise import optimise
from agent.stages.practise import practise
from agent.stages.refuse import UNTRAINED, refuse
from agent.stages.relabel import relabel
from agent.stages.round import SPENT, Round
from policies.base import find_policy


def improve(config: Config, run: RunDir, workers: Workers) -> dict[str, Any]:
    """Improve the policy of `config` for `config.rounds` rounds; returns what results.json holds."""
    incumbent = find_policy(config.policy)
    run.begin(asdict(config), versions(), at_beginning(config, incumbent))
    budget, rows = dict.fromkeys(SPENT, 0), []
    tracker, report = tracker_of(config, run, budget), Report(run, config.tasks)
    start, *rounds = (Round(i, config, run, workers, tracker, budget) for i in range(config.rounds + 1))
    evaluate(start, incumbent, "before")
    film(start, incumbent)

    for r in rounds:
        row = {"round": r.number} | one_round(r, incumbent)
        log(r, row)
        if row["accepted"]:
            incumbent = r.candidate
        rows.append(row)
        report.round(row)
        run.write_results(results(start, rows, incumbent, complete=False))
        run_report.refresh(run)

    evaluate(rounds[-1], incumbent, "after")
    whole = results(start, rows, incumbent, complete=True)
    log_gain(rounds[-1], whole)
    run.write_results(whole)
    run_report.refresh(run)
    report.end(whole)
    tracker.close()
    return whole


def one_round(r: Round, incumbent: Path) -> dict[str, Any]:
    """Run the stages of a round, each from folders into a folder; returns the round's row of results.json."""
    row, policy = UNTRAINED | practise(r, incumbent), incumbent  # data collection
    row |= relabel(r)
    try:
        for by in in_order(r.config.optimise):  # SFT on successes, then DPO on pairs, if the config says nothing else
            if by.branches:
                row |= branch(r, policy, by, *by.branched_again)  # data collection: measured outcomes
            row |= optimise(r, policy, by)  # data organisation and model optimisation
            policy = r.folder / by.out
    except UnhealthyError as fault:
        return refuse(fault) | row  # the incumbent stays
    row |= gate(r, incumbent)
    row |= criticise(r, incumbent)
    film(r, r.candidate)
    return row
