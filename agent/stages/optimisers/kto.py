"""KTO (Ethayarajh et al., 2024) on answers that were measured to be good or bad: no pairs are needed."""

from pathlib import Path

from agent.config.optimisers import Optimiser
from agent.optimise.kto import train_kto
from agent.organise import pairs
from agent.organise.rows import Labelled
from agent.record.rundir import copy_folder
from agent.stages.optimisers.prefer import measured, rehearsed, train_against_itself
from agent.stages.round import Round
from agent.stages.stage import stage


@stage
def prefer_unpaired(r: Round, checkpoint: Path, by: Optimiser, *again: str) -> dict[str, int]:
    """KTO of the checkpoint; the reference is the checkpoint. A copy without labelled answers.

    What DPO rehearses is mixed in as good answers. Raises UnhealthyError, before anything is saved.
    """
    select, rng, out = r.config.select, r.rng(" ".join(["kto", *again])), r.output(by.out)
    tried = measured(r, by)
    answers = pairs.labelled_answers(tried + r.unbranched(r.practice), select.tie, r.dialect)
    if answers:
        beside = [Labelled(e.shown, e.prompt, e.answer) for e in rehearsed(r, tried, rng)]
        train_against_itself(r, checkpoint, answers * select.pair_repeats + beside, out, by, train_kto)
    else:
        copy_folder(checkpoint, out)
    r.sign(out, checkpoint, "kto")
    return {"labelled": {"good": sum(a.good for a in answers), "bad": sum(not a.good for a in answers)}}
