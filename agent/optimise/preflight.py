"""Settings of trl's trainers, tried on a few rows before anything long starts, up to the first optimiser step.

trl's fields are not declared a second time. What a setting does wrong is found by using it: the trainer is built on
the policy's own model and processor, and takes one step but for the update. The model is then as good as before, but
for what trainers leave on it. Where that fails, it is repeated without each setting in turn, and those whose absence
cures it are named.
"""

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import DefaultFlowCallback
from trl import DPOConfig, GRPOConfig, KTOConfig, SFTConfig

from agent.optimise.dpo import dpo_trainer
from agent.optimise.grpo import grpo_trainer
from agent.optimise.health import Health, check_rows
from agent.optimise.kto import kto_trainer
from agent.optimise.sft import sft_trainer
from agent.organise.outcome import Outcome
from agent.organise.rows import Asked, Example, Labelled, Pair
from envs.errors import UserError, unknown
from envs.observation import Observation
from envs.task import Task
from policies.action_codec import codec_for
from policies.backends.huggingface import HFBackend
from policies.dialect import dialect_for

Build = Callable[[Mapping[str, Any], Path], Trainer]  # settings, output folder -> trainer


def two_pairs(seen: Sequence[tuple[Task, Observation]], policy: HFBackend) -> list[Pair]:
    """Two pairs, of the first observations, as the policy is asked; the answers are words of the task's actions."""
    pairs = []
    for task, observation in (*seen, *seen)[:2]:
        first, *_, last = codec_for(task).action.vocabulary
        asked = dialect_for(policy.settings, policy.template, task).act(observation)
        pairs.append(Pair(observation.packed_frames(), asked, first, last, Outcome(1.0, 0.0)))
    return pairs


def check_sft(section: str, settings: Mapping[str, Any], policy: HFBackend, rows: Sequence[Pair]) -> None:
    """Raises UserError for settings with which SFT cannot train the policy on the chosen answers of the rows."""
    examples = [Example(row.shown, row.prompt, row.chosen) for row in rows]
    model, processor = policy.model, policy.processor
    _check(section, settings, SFTConfig, lambda given, out: sft_trainer(model, processor, examples, out, given))


def check_dpo(section: str, settings: Mapping[str, Any], policy: HFBackend, rows: Sequence[Pair]) -> None:
    """Raises UserError for settings with which DPO cannot train the policy on the rows."""
    _check(section, settings, DPOConfig, _against_itself(policy, dpo_trainer, rows))


def check_kto(section: str, settings: Mapping[str, Any], policy: HFBackend, rows: Sequence[Pair]) -> None:
    """Raises UserError for settings with which KTO cannot train the policy on the answers of the rows."""
    answers = [Labelled(p.shown, p.prompt, p.chosen) for p in rows]
    answers += [Labelled(p.shown, p.prompt, p.rejected, good=False) for p in rows]
    _check(section, settings, KTOConfig, _against_itself(policy, kto_trainer, answers))


def check_grpo(section: str, settings: Mapping[str, Any], policy: HFBackend, rows: Sequence[Pair]) -> None:
    """Raises UserError for settings with which trl builds no GRPO trainer. A step would need measured rewards."""

    def build(given: Mapping[str, Any], out: Path) -> Trainer:
        return grpo_trainer(policy, rows, lambda answers, numbers: [0.0] * len(answers), out, given)

    _check(section, settings, GRPOConfig, build, begin=False)


def _against_itself(policy: HFBackend, trainer_of: Callable[..., Trainer], rows: Sequence[Asked]) -> Build:
    """Builds a trainer whose reference is another object with the policy's weights: nothing is copied, and nothing is
    updated. For a model with adapters trl itself adds the reference, as the adapter `ref`."""
    model, processor = policy.model, policy.processor
    adapters = getattr(model, "peft_config", None)
    reference = copy(model) if adapters is None else None

    def build(given: Mapping[str, Any], out: Path) -> Trainer:
        if "ref" in (adapters or {}):  # of the trainer before
            model.delete_adapter("ref")
        return trainer_of(model, reference, processor, rows, out, given)

    return build


CHECKS = {"sft": check_sft, "awr": check_sft, "dpo": check_dpo, "kto": check_kto, "grpo": check_grpo}


def _check(section: str, settings: Mapping[str, Any], kind: type, build: Build, begin: bool = True) -> None:
    """begin: whether the trainer takes its first step."""
    _check_names(section, settings, kind)
    error = _error(section, settings, build, begin)
    if error is None:
        return
    others = {name: {key: value for key, value in settings.items() if key != name} for name in settings}
    blamed = [name for name, rest in others.items() if _error(section, rest, build, begin) is None]
    named = "".join(f", {name} = {settings[name]!r}" for name in blamed)
    what = str(error) or type(error).__name__
    raise UserError(f"config section {section!r}{named}: trl cannot train this policy with it: {what}") from error


def _check_names(section: str, settings: Mapping[str, Any], kind: type) -> None:
    """Raises UserError for settings that trl's config class `kind` does not have, for a secret, which the run's files
    would repeat, and for text instead of a number: YAML reads `1e-3`, without a point, as text."""
    if "hub_token" in settings:
        raise UserError(f"config key '{section}.hub_token' is a secret; valid: the environment variable HF_TOKEN")
    defaults = {field.name: field.default for field in fields(kind) if field.name != "output_dir"}
    for name, value in settings.items():
        if name not in defaults:
            raise unknown(f"setting of trl's {kind.__name__} in {section!r},", name, defaults)
        if isinstance(defaults[name], float) and isinstance(value, str):
            raise UserError(f"config key '{section}.{name}' = {value!r}; valid: a number, such as 1.0e-3")


def _error(section: str, settings: Mapping[str, Any], build: Build, begin: bool) -> Exception | None:
    """What is raised when a trainer with these settings is built and, if it may begin, used once."""
    try:
        with _quiet_and_quick(), TemporaryDirectory() as out:
            trainer = build({**settings, "push_to_hub": False}, Path(out))  # building would make a repository there
            trainer.args.dataloader_drop_last = False  # the rows here are fewer than a batch
            check_rows(trainer, section)
            if begin:
                _begin(trainer, section)
    except Exception as error:  # of whatever type: trl, transformers, accelerate and torch each raise their own
        return error
    return None


def _begin(trainer: Trainer, section: str) -> None:
    """Train up to the first update of the weights, without the callbacks that report to others."""
    trainer.callback_handler.callbacks = [DefaultFlowCallback(), Health(section, first_steps=1), _Stop()]
    with suppress(_Stopped):
        trainer.train()
    trainer.model.zero_grad()  # sets them free


class _Stopped(Exception):  # noqa: N818 (no error)
    """The gradient of the first step is there."""


class _Stop(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        raise _Stopped


@contextmanager
def _quiet_and_quick() -> Iterator[None]:
    """Without warnings: they come again when the training itself starts.

    accelerate collects garbage before each training, which takes half a second of all that the imports made, unless
    these objects are frozen.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()
            logging.disable(logging.NOTSET)
