"""Advantage-weighted regression (AWR, Peng et al., 2019): SFT on answers, weighted by their measured advantage."""

from pathlib import Path

from agent.config.optimisers import Optimiser
from agent.organise import pairs
from agent.record.rundir import copy_folder
from agent.stages.optimisers.imitate import fine_tune
from agent.stages.optimisers.prefer import measured, rehearsed
from agent.stages.round import Round
from agent.stages.stage import stage


@stage
def weigh(r: Round, checkpoint: Path, by: Optimiser, *again: str) -> dict[str, int]:
    """SFT of the checkpoint on weighted answers; a copy where none has a measured outcome.

    What DPO rehearses is mixed in. Raises UnhealthyError, before anything is saved.
    """
    select, rng, out = r.config.select, r.rng(" ".join(["awr", *again])), r.output(by.out)
    tried = measured(r, by)
    answers = pairs.advantages(tried + r.unbranched(r.practice), r.dialect)
    if answers:
        drawn = pairs.weighted(answers * select.pair_repeats, select.advantage_scale, rng)
        fine_tune(r, checkpoint, drawn + rehearsed(r, tried, rng), out, "awr")
    else:
        copy_folder(checkpoint, out)
    r.sign(out, checkpoint, "awr")
    return {"weighted": len(answers)}
