"""Whether a config can run here, asked before anything is written or trained."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from trl import DPOConfig, SFTConfig

from agent.config import Config, Pretrain
from agent.stages import practice_seeds
from envs import registry
from envs.errors import unknown
from envs.splits import seeds
from policies.backend_hf import HFBackend


def check_improve(config: Config) -> None:
    """Raises UserError for what is unknown or missing, too many episodes, or a machine that cannot render."""
    _check_tasks((*config.tasks, *config.evaluation.tasks))
    _check_trainer("sft", config.sft, SFTConfig)
    _check_trainer("dpo", config.dpo, DPOConfig)
    for number in (1, config.rounds):
        practice_seeds(config, number)
    seeds("gate", config.gate.episodes)
    seeds("heldout", config.evaluation.episodes)
    HFBackend.load(config.policy)


def check_pretrain(config: Pretrain) -> None:
    """Raises UserError for an unknown task or trainer setting, or a machine that cannot render."""
    _check_tasks((*config.tasks, *(name for stage in config.stages.values() for name in stage.demonstrations)))
    for name, stage in config.stages.items():
        _check_trainer(f"stages.{name}.sft", stage.sft, SFTConfig)


def _check_tasks(names: tuple[str, ...]) -> None:
    for name in dict.fromkeys(names):
        task = registry.task(name)
        env = task.make()
        env.reset(seed=0)
        task.observe(env)
        env.close()


def _check_trainer(section: str, settings: Mapping[str, Any], kind: type) -> None:
    valid = {field.name for field in fields(kind)}
    for name in settings:
        if name not in valid:
            raise unknown(f"setting of trl's {kind.__name__} in {section!r},", name, valid)
