"""Each family through SFT and DPO with adapters: losses as of each row alone, rewards from 0, a merge that changes
nothing."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from agent.optimise.dpo import train_dpo
from agent.optimise.sft import train_sft
from agent.organise.outcome import Outcome
from agent.organise.rows import Example, Pair
from agent.record.merging import merge
from policies.backend import Request
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_backend, load_trainable
from policies.backends.probe import next_token
from policies.backends.settings import Lora, ModelSettings
from policies.prompt import assistant, user
from tests.families.alone import Alone

SETTINGS = ModelSettings(lora=Lora(r=4, alpha=8))
TRAINER = {"per_device_train_batch_size": 3, "learning_rate": 1e-2, "logging_steps": 1, "max_steps": 2}
ROWS = (1, "push the red cube", "red cube 1 2; move +1 -2"), (2, "go", "move +0 -1"), (1, "reach it", "move -1 +2")


def examples() -> list[Example]:
    """Rows of one and of two frames."""
    rng = np.random.default_rng(0)
    return [
        Example(rng.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8), user(words, frames), answer)
        for frames, words, answer in ROWS
    ]


class FirstLog(TrainerCallback):
    """What a trainer logs of its first step, before any weight is changed."""

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self.numbers = getattr(self, "numbers", logs)


def trained(folder: Path) -> dict[str, float | bool]:
    """loss: of SFT's first step, less that of its rows alone. reload: largest difference of the next token's
    probabilities between adapters in memory and loaded. reward: the largest of DPO's first step. merge: as reload, of
    the merged model. names: whether the tensors of the merged model are those of the base."""
    rows, first, made = examples(), FirstLog(), folder.with_name(f"{folder.name}_sft")
    backend = load_trainable(folder, SETTINGS)
    alone = loss_alone(backend, rows)
    train_sft(backend.model, backend.processor, rows, folder.parent, TRAINER, [first])
    backend.model.eval()
    backend.save(made)
    said = probabilities(backend, rows)
    again = load_trainable(made, SETTINGS)
    reload = difference(probabilities(again, rows), said)
    pairs = [Pair(e.frames, e.prompt, e.answer, "move +3 +3", Outcome(1.0, 0.5)) for e in rows]
    preferred = FirstLog()
    train_dpo(again.model, None, again.processor, pairs, folder.parent, TRAINER | {"max_steps": 1}, [preferred])
    whole = merge(made, folder.with_name(f"{folder.name}_merged"))
    names = [set(load_file(path / "model.safetensors")) for path in (folder, whole)]
    return {
        "loss": abs(float(first.numbers["loss"]) - alone),
        "reload": reload,
        "reward": max(abs(float(preferred.numbers[f"rewards/{kind}"])) for kind in ("chosen", "rejected")),
        "merge": difference(probabilities(load_backend(whole), rows), said),
        "names": names[0] == names[1],
    }


def loss_alone(backend: HFBackend, rows: list[Example]) -> float:
    """Mean cross entropy of the tokens of answers, each row by a plain forward pass over the prompt it is asked by."""
    alone, total, count = Alone(backend), 0.0, 0
    for row in rows:
        asked = backend.template.prompt(row.prompt)
        told = backend.processor.apply_chat_template([[*row.prompt, *assistant(row.answer)]], tokenize=False)[0]
        (said,) = backend.reader.tokens([told[len(asked) :]])
        scores = alone.every(Request(row.frames, row.prompt), said[:-1])[-len(said) :]
        total += float(torch.nn.functional.cross_entropy(scores, torch.tensor(said), reduction="sum"))
        count += len(said)
    return total / count


def probabilities(backend: HFBackend, rows: list[Example]) -> torch.Tensor:
    return next_token(backend.prefill([Request(e.frames, e.prompt) for e in rows]))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
