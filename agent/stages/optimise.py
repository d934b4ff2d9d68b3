"""Optimise: the training that a method stands for, on what the stages before it collected."""

from pathlib import Path
from typing import Any

from agent.config.optimisers import Optimiser
from agent.stages.optimisers.awr import weigh
from agent.stages.optimisers.grpo import reinforce
from agent.stages.optimisers.imitate import imitate
from agent.stages.optimisers.kto import prefer_unpaired
from agent.stages.optimisers.prefer import prefer
from agent.stages.round import Round

OPTIMISERS = {"sft": imitate, "dpo": prefer, "kto": prefer_unpaired, "awr": weigh, "grpo": reinforce}


def optimise(r: Round, checkpoint: Path, by: Optimiser) -> dict[str, Any]:
    """Train the checkpoint, into the folder of the round that `by` names."""
    return OPTIMISERS[by.method](r, checkpoint, by, *by.again)
