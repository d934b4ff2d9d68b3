"""The x-axes of metrics: lines of metrics.jsonl, environment steps, and optimiser steps."""

from collections.abc import Mapping
from typing import get_args

from agent.config.optimisers import Method

STEP = "step"  # the number of a line in metrics.jsonl
ENV_STEPS = "train_env_steps"  # environment steps of practice and of branches so far
GLOBAL_STEP = "global_step"  # optimiser steps so far, over all rounds: `sft/global_step`, `dpo/global_step`
TRAININGS = get_args(Method)  # prefixes of metrics of trainings


def axis_of(name: str, line: Mapping[str, float | None]) -> str:
    """The x-axis of a metric: optimiser steps for a training, else environment steps; `step` where its line has none.

    line: the line of metrics.jsonl that holds the metric.
    """
    prefix = name.partition("/")[0]
    axis = f"{prefix}/{GLOBAL_STEP}" if prefix in TRAININGS else ENV_STEPS
    return axis if axis in line else STEP


def is_axis(name: str) -> bool:
    return name in (STEP, ENV_STEPS) or name.rpartition("/")[2] == GLOBAL_STEP
