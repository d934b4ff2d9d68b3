"""Group-relative policy optimisation (GRPO, Shao et al., 2024): trl's GRPOTrainer with answers under a grammar.

trl takes a grammar only with vLLM. Here the model's own `generate`, which trl calls, gets one. An answer is then drawn
from the allowed tokens alone, and the loss takes its probability among all tokens. The two differ by what a policy
leaves to answers without form, which after SFT is almost nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from agent.optimise.callbacks import train
from agent.optimise.sft import on_one_device, trainer_arguments
from agent.organise.rows import Asked, grpo_rows
from agent.record.console import Bar
from policies.backends.decoding import Constraint
from policies.backends.huggingface import HFBackend

Reward = Callable[[Sequence[str], Sequence[int]], list[float | None]]  # answers, the number of the prompt of each
ANSWER_TOKENS = 256  # at most; the grammar ends an answer


class Constrained(LogitsProcessor):
    """Forbids what a grammar does not allow; a row whose answer is whole gets the end token."""

    def __init__(self, backend: HFBackend, regex: str):
        self._grammar, self._end = backend.grammar(regex), backend.processor.tokenizer.eos_token_id
        self._constraint: Constraint | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(rows, tokens), (rows, vocabulary) logits -> logits."""
        if self._constraint is None:
            self._constraint = Constraint(self._grammar, len(input_ids), scores.device)
        else:
            self._constraint.accept(input_ids[:, -1].tolist())
        masked = self._constraint.masked(scores.float())
        ended = self._constraint.ended.to(scores.device)
        masked[ended] = -torch.inf
        masked[ended, self._end] = 0.0
        return masked


@contextmanager
def constrained(backend: HFBackend, regex: str) -> Iterator[None]:
    """In the block, whatever the model generates is in the language of the regular expression."""
    model, generate = backend.model, backend.model.generate

    def under_grammar(*arguments: Any, **named: Any) -> Any:
        return generate(*arguments, **named, logits_processor=LogitsProcessorList([Constrained(backend, regex)]))

    model.generate = under_grammar
    try:
        yield
    finally:
        del model.generate


def train_grpo(
    backend: HFBackend,
    regex: str,
    asked: Sequence[Asked],
    reward: Reward,
    out: Path,
    settings: Mapping[str, Any],
    callbacks: Iterable[TrainerCallback | Bar] = (),
) -> dict[str, float]:
    """Train the backend's model in place. settings: fields of trl's GRPOConfig. Returns the final metrics.

    regex: of an answer. reward: of answers; one without a reward does not count. out: unused folder; a training that
    was interrupted begins anew, because its rewards are part of what it measures.
    Raises UnhealthyError for a training that gives no policy: also where no group's rewards differ.
    """
    trainer = grpo_trainer(backend, asked, reward, out, settings)
    with constrained(backend, regex):
        return train(trainer, asked, callbacks, "grpo")


def grpo_trainer(
    backend: HFBackend, asked: Sequence[Asked], reward: Reward, out: Path, settings: Mapping[str, Any]
) -> GRPOTrainer:
    """With trl's defaults but for the length of an answer, and no checkpoints."""
    ours = {"save_strategy": "no", "max_completion_length": ANSWER_TOKENS}
    arguments = trainer_arguments(backend.model, ours | settings)
    arguments.pop("max_length")  # of a prompt with its answer: trl has none here

    def outcome(completions: Sequence[Any], number: Sequence[int], **_: Any) -> list[float | None]:
        """trl's reward function: completions are conversations of one message."""
        said = (completion[0]["content"].removeprefix(backend.template.lead) for completion in completions)
        return reward([answer.strip() for answer in said], number)

    return GRPOTrainer(
        model=backend.model,
        reward_funcs=outcome,
        args=on_one_device(GRPOConfig(output_dir=str(out), **arguments)),
        train_dataset=grpo_rows(asked, range(len(asked))),
        processing_class=backend.processor,
    )
