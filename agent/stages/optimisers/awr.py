"""Advantage-weighted regression (AWR, Peng et al., 2019): SFT on answers, weighted by their measured advantage."""

from pathlib import Path

from agent.organise import pairs
from agent.record.rundir import copy_folder
from agent.stages.optimisers.imitate import fine_tune
from agent.stages.optimisers.prefer import measured, rehearsed
from agent.stages.round import Round
from agent.stages.stage import stage


@stage
def weigh(r: Round, checkpoint: Path, into: str, branches: str) -> dict[str, int]:
    """SFT of the checkpoint on weighted answers, saved `into`; a copy where none has a measured outcome.

    branches: the store of measured outcomes. What DPO rehearses is mixed in. Raises UnhealthyError, before anything is
    saved.
    """
    select, rng, out = r.config.select, r.rng(f"awr {into}"), r.output(into)
    tried = measured(r, branches)
    answers = pairs.advantages(tried + r.unbranched(r.practice), r.dialect)
    if answers:
        drawn = pairs.weighted(answers * select.pair_repeats, select.advantage_scale, rng)
        fine_tune(r, checkpoint, drawn + rehearsed(r, tried, rng), out, "awr")
    else:
        copy_folder(checkpoint, out)
    r.sign(out, checkpoint, "awr")
    return {"weighted": len(answers)}
