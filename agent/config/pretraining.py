"""The config of pretraining: how a seed policy is trained, stage by stage."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from agent.config.run import Fraction, Tasks, Tracking
from envs.validation import STRICT, Count
from policies.backends.settings import ModelSettings


@dataclass(frozen=True, config=STRICT)
class Stage:
    """One stage of pretraining: SFT on captions of scenes, on demonstrations, and on critiques of the policy so far.

    scenes: of every task, or task -> scenes. demonstrations: task -> episodes of its expert; their steps are repeated
    `repeats` times. critiques: scenes per task. first_*: offset of the first practice seed of each kind. sft: fields of
    trl's SFTConfig.
    """

    scenes: NonNegativeInt | dict[str, NonNegativeInt] = 0
    first_scene: NonNegativeInt = 500_000
    questions: Count = 2  # per scene, about where things are, beside its caption
    wander: Count = 10  # a scene lies fewer than these steps into an episode
    instructions: bool = False  # also questions in the words of an instruction, with practised goals
    demonstrations: dict[str, NonNegativeInt] = Field(default_factory=dict)
    first_demonstration: NonNegativeInt = 600_000
    disturbed: Fraction = 0.0  # share of a demonstration's steps that take a random action, not the one shown
    repeats: Count = 1
    critiques: NonNegativeInt = 0
    first_critique: NonNegativeInt = 700_000
    sft: dict[str, Any] = Field(default_factory=dict)

    def scenes_of(self, task: str) -> int:
        return self.scenes.get(task, 0) if isinstance(self.scenes, dict) else self.scenes


@dataclass(frozen=True, config=STRICT)
class Pretrain:
    """The training of a seed policy, stage by stage: perception first, then the form of an answer.

    experts: task -> a .zip of Stable-Baselines3 that demonstrates the task, instead of the task's own expert. It can
    run code: one that does not ship needs --trust.
    """

    out: str
    tasks: Tasks
    stages: Annotated[dict[str, Stage], Field(min_length=1)]
    experts: dict[str, Path] = Field(default_factory=dict)
    start: str | None = None  # initial checkpoint folder, a model on a hub, or `seed`; None: random weights
    model: ModelSettings = Field(default_factory=ModelSettings)  # how the start is loaded, shown frames and trained
    new_words: bool = False  # words of the tasks that the start's tokenizer splits become single tokens
    seed: NonNegativeInt = 0
    threads: Count = 2  # of torch
    tracking: Tracking = Field(default_factory=lambda: Tracking("disabled"))  # of the curve, into OUT.metrics
