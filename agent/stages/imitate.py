"""Imitate: supervised fine-tuning (SFT) on successes, mixed with examples for the critic."""

import random
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from agent.collect.workers import release
from agent.config import Margin
from agent.optimise.sft import train_sft
from agent.organise import selection
from agent.organise.critiques import answer_critiques, contrasts, end_critiques, endings
from agent.organise.episode import Episode
from agent.organise.rows import Example
from agent.record.console import bar
from agent.record.rundir import copy_folder
from agent.record.tracking import TrackTraining
from agent.stages.round import Round
from policies.backends.adapters.folder import has_adapters
from policies.backends.loading import load_trainable


def imitate(r: Round, checkpoint: Path) -> dict[str, int]:
    """SFT of the checkpoint on the successes of the latest rounds, into `sft`; a copy where there are no rows.

    Raises UnhealthyError, before anything is saved.
    """
    practised, kept = r.learned()
    examples = selection.examples(kept, r.dialect)
    rng = r.rng("imitate")
    _train(r, checkpoint, examples + measured_critiques(r.before()) + other_critiques(r, practised, kept, rng))
    r.sign(r.imitator, checkpoint, "sft")
    return {"sft_examples": len(examples)}


def measured_critiques(r: Round) -> list[Example]:
    """Examples for the critic that judge answers with measured outcomes, from the round's branches or its practice."""
    select, branches = r.config.select, r.episodes("branches")
    margin: Margin | None = None if branches else select.min_margin  # common random numbers: any difference counts
    tried = branches or r.labelled(r.episodes("episodes"))
    return answer_critiques(tried, select.critiques, select.tie, margin, r.rng("answers"), r.dialect)


def other_critiques(
    r: Round, practised: Iterable[Episode], kept: Iterable[Episode], rng: np.random.Generator
) -> list[Example]:
    """Examples for the critic that judge the endings of practice, and that contrast answers that are imitated."""
    n = r.config.select.critiques
    return end_critiques(endings(practised), n, rng, r.dialect) + contrasts(kept, n, rng, r.dialect)


def _train(r: Round, checkpoint: Path, rows: Sequence[Example]) -> None:
    if not rows and (has_adapters(checkpoint) or not r.config.model.lora):
        copy_folder(checkpoint, r.imitator)
        return
    release()
    backend, rows = load_trainable(checkpoint, r.config.model, r.config.seed), list(rows)
    random.Random(r.config.seed).shuffle(rows)
    trainer = r.imitator.with_name("sft.trainer")  # the trainer's folder
    with bar("imitate (SFT)") as progress:
        settings = {"seed": r.config.seed} | r.config.sft
        callbacks = [progress, TrackTraining(r.tracker, "sft")]
        if rows:  # new adapters that are not trained yet are saved too: later stages find the same base
            train_sft(backend.model, backend.processor, rows, trainer, settings, callbacks)
    backend.save(r.imitator)
    shutil.rmtree(trainer, ignore_errors=True)
