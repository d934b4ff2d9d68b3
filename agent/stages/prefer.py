"""Prefer: direct preference optimisation (DPO) on pairs of answers to one observation with measured outcomes."""

import random
from collections.abc import Sequence
from pathlib import Path

from agent.collect.workers import release
from agent.optimise.distributed import train_apart
from agent.optimise.dpo import train_dpo
from agent.organise import pairs, selection
from agent.organise.episode import Episode
from agent.organise.rows import Example, Pair, rehearsal
from agent.record.console import bar
from agent.record.rundir import copy_folder
from agent.record.tracking import TrackTraining
from agent.stages.imitate import measured_critiques, other_critiques
from agent.stages.round import Round
from agent.stages.stage import stage
from policies.backends.adapters.lora import is_adapted
from policies.backends.loading import load_trainable


@stage
def prefer(r: Round) -> dict[str, int]:
    """DPO of the imitator with an SFT term, into `policy`; the reference is the imitator. A copy without pairs.

    Rehearsed SFT examples and the examples for the critic are mixed in. The pairs are few: alone, they make the policy
    forget what they do not show. Raises UnhealthyError, before anything is saved.
    """
    select, rng = r.config.select, r.rng("prefer")
    branched = r.hindsight(r.episodes("branches"))
    preferences = [measured.pair for measured in measured_pairs(r, branched)]
    out = r.output("policy")
    if not preferences:
        copy_folder(r.imitator, out)
        r.sign(out, r.imitator, "dpo")
        return {"pairs": 0}
    if select.flip_pairs:
        preferences = pairs.flipped(preferences, rng)
    practised, kept = r.learned()
    kept += selection.keep(branched, select.per_start)
    critiques = measured_critiques(r) + other_critiques(r, [*practised, *branched], kept, rng)
    _train(r, preferences, selection.examples(kept, r.dialect), critiques, out)
    r.sign(out, r.imitator, "dpo")
    return {"pairs": len(preferences)}


def measured_pairs(r: Round, branched: Sequence[Episode]) -> list[pairs.MeasuredPair]:
    """The round's pairs, of its branches and of the practice that takes the place of branches."""
    select = r.config.select
    bounds = select.min_margin, select.max_pairs, select.pair_p_value, select.rejected
    return pairs.measured_pairs([*branched, *r.unbranched(r.practice)], *bounds, r.dialect)


def _train(
    r: Round, preferences: Sequence[Pair], examples: Sequence[Example], critiques: Sequence[Example], out: Path
) -> None:
    select, rng = r.config.select, random.Random(r.config.seed)
    rehearsed = rng.sample(examples, min(select.rehearsed, len(examples)))
    rows = [*preferences] * select.pair_repeats + [rehearsal(e) for e in (*rehearsed, *critiques)]
    settings = {"seed": r.config.seed} | r.config.dpo
    release()
    with bar("prefer (DPO)") as progress:
        callbacks = [progress, TrackTraining(r.tracker, "dpo")]
        if r.config.model.devices > 1:
            train_apart(r.training("dpo", r.imitator, rows, settings, out), callbacks)
            return
        backend = load_trainable(r.imitator, r.config.model, r.config.seed)
        reference = None if is_adapted(backend.model) else load_trainable(r.imitator, r.config.model).model
        train_dpo(backend.model, reference, backend.processor, rows, r.checkpoints, settings, callbacks)
    backend.save(out)
