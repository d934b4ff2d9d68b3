"""The rounds in order: practise, imitate what succeeded, try what else could have, prefer it, pass the gate, go again.

The only file that knows the order. After Deng et al. (2025), "Self-Improvement in Multimodal Large Language Models:
A Survey": data collection, data organisation, model optimisation, repeated.
"""

import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from agent.collect.workers import Workers
from agent.config import Config
from agent.measure import gate
from agent.measure.statistics import compare, critic_scores, rate, successes
from agent.organise import pairs, selection
from agent.organise.critiques import TIE, answer_critiques, comparisons, end_critiques, endings
from agent.record.rundir import RunDir
from agent.record.tables import Report, versions
from agent.record.tracking import Tracker
from agent.stages import Optimiser, Player


def improve(config: Config, run: RunDir, workers: Workers) -> dict[str, Any]:
    """Improve the policy of `config` for its rounds and return what results.json holds."""
    started = time.monotonic()
    run.write_config(asdict(config))
    tracker = Tracker(run.path, config.tracking, asdict(config))
    player, optimiser, report = Player(config, run, tracker, workers), Optimiser(config, tracker), Report(run)
    rng = np.random.default_rng(config.seed)

    incumbent = seed_policy = Path(config.policy)
    before = player.report(seed_policy)
    player.film(seed_policy, 0)
    select, kept, ends, branches, asked, rounds = config.select, [], [], [], [], []
    seen = selection.as_judged if select.by == "critic" else list
    proven = selection.hindsight if select.hindsight else list
    for number in range(1, config.rounds + 1):
        folder = run.round(number)
        practised, archived = player.practise(incumbent, number)
        ended = proven(seen(practised + archived + branches + player.relabel(practised, number)))
        kept.append(selection.keep(ended, select.per_start))
        ends += endings(ended)
        latest = list(chain.from_iterable(kept[-select.rounds :]))
        examples, n = selection.examples(latest), select.critiques
        questions = asked + end_critiques(ends, n, rng) + comparisons(latest, n, rng)
        imitator = optimiser.imitate(incumbent, examples + questions, folder / "sft")

        branches = player.branch(imitator, practised, number)
        criticism = player.criticise(imitator, branches or practised)
        margin = TIE if branches else select.min_margin  # branches are followed alike: any loss counts
        asked = answer_critiques(branches or seen(practised), n, margin, rng)
        bounds = select.min_margin, select.max_pairs, select.pair_p_value, select.rejected
        branched = proven(branches)
        preferences = pairs.pairs(branched or ended, *bounds)
        if select.flip_pairs:
            preferences = pairs.flipped(preferences, rng)
        succeeded = selection.keep(branched, select.per_start)
        imitated = examples + selection.examples(succeeded)
        questions = asked + end_critiques(ends + endings(branched), n, rng) + comparisons(latest + succeeded, n, rng)
        candidate = optimiser.prefer(imitator, preferences, imitated, questions, folder / "policy")

        standing = player.gate("incumbent", incumbent, number)
        challenge = player.gate("candidate", candidate, number)
        verdict = gate.decide(seen(standing), seen(challenge), config.gate.p_value)
        if verdict.accepted:
            incumbent = candidate
        rounds.append(
            {
                "round": number,
                "accepted": verdict.accepted,
                "episodes": len(practised),
                "branches": len(branches),
                "successes": sum(e.success for e in practised),
                "sampled": rate(successes(practised)),
                "sft_examples": len(examples),
                "pairs": len(preferences),
                "gate": {"before": verdict.before, "after": verdict.after, "p_value": verdict.p_value},
                "critic": critic_scores(criticism, challenge),
            }
        )
        player.film(candidate, number)
        report.round(rounds[-1])
        tracker.log_tree("round", rounds[-1])

    results = {
        "schema": 1,
        "config": asdict(config),
        "versions": versions(),
        "budget": player.budget | {"wall_s": time.monotonic() - started},
        "rounds": rounds,
        **compare(before, player.report(incumbent)),
        "policy": str(incumbent),
    }
    run.write_results(results)
    report.end(results)
    tracker.close()
    return results
