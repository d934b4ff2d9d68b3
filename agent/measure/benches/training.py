"""Rows per second of a training, against a bare PyTorch loop over the same rows, model and batch size.

The loop is what a user would write: rows tokenised and frames decoded once, a plain collate, forward, backward, AdamW.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, ProcessorMixin

from agent.collect.rollout import rollout
from agent.measure.benches.sides import bench_row, medians
from agent.organise import selection
from agent.organise.critiques import contrasts, ending, endings
from agent.organise.outcome import Outcome
from agent.organise.rows import Asked, Example, Pair, rehearsal
from envs.registry import task
from policies.action_codec import codec_for
from policies.backends.loading import load_trainable
from policies.backends.settings import ModelSettings
from policies.baselines import ExpertPolicy
from policies.dialect import TERSE
from policies.prompt import assistant

Trainings = Mapping[str, Callable[..., Any]]  # `sft`: train_sft, `dpo`: train_dpo

TASKS = ("reach", "push")
REPEATS = 8  # of a pair in an epoch, as in configs/demo.yaml
REHEARSED = 7  # rows for each row of a pair, about as many as the demo mixes
OPTIMISER = {"learning_rate": 2e-4, "lr_scheduler_type": "constant", "weight_decay": 0.0}
SFT = {"per_device_train_batch_size": 32, "num_train_epochs": 3, **OPTIMISER}
DPO = {"per_device_train_batch_size": 16, "num_train_epochs": 1, "loss_type": ["sigmoid", "sft"], "beta": 1.0}
DPO |= {"loss_weights": [1.0, 1.0], **OPTIMISER}


@dataclass(frozen=True)
class Compared:
    """A training of a config's section. rows: an epoch's. answers: the attributes of a row that hold its answers."""

    name: str
    section: str
    rows: Sequence[Asked]
    settings: Mapping[str, Any]
    answers: tuple[str, ...]
    what: str


def training(checkpoint: Path, trainings: Trainings, n: int = 256, repetitions: int = 3) -> list[dict[str, Any]]:
    """Rows per CPU second of SFT and DPO; of both sides, the whole call, with its preparation.

    n: rows of an epoch. Both sides take turns; a ratio is that of the medians. CPU time, because another process that
    takes the processor lengthens the time of a wall clock.
    """
    examples = _examples(n)
    plain = examples[: n // REPEATS]
    others = [*plain[1:], plain[0]]
    shared = zip(plain, others, strict=True)
    pairs = [Pair(e.shown, e.prompt, e.answer, other.answer, Outcome(1.0, 0.0)) for e, other in shared]
    mixed = pairs[: len(pairs) // (1 + REHEARSED)] * REPEATS
    mixed += [rehearsal(example) for example in examples[: n - len(mixed)]]
    both = "chosen", "rejected"
    compared = [
        Compared("sft", "sft", examples, SFT, ("answer",), "acting and critiques, as in a round"),
        Compared("dpo", "dpo", (pairs * REPEATS)[:n], DPO, both, f"pairs, {REPEATS} times each"),
        Compared("dpo with rehearsal", "dpo", mixed, DPO, both, f"pairs and {REHEARSED} times as many rehearsed rows"),
    ]
    return [_measured(each, checkpoint, trainings[each.section], repetitions) for each in compared]


def _measured(each: Compared, checkpoint: Path, train: Callable[..., Any], repetitions: int) -> dict[str, Any]:
    sides = {"ours": partial(_ours, each, checkpoint, train), "bare": partial(_bare, each, checkpoint)}
    spent = medians(sides, repetitions)
    n, batch = len(each.rows) * each.settings["num_train_epochs"], each.settings["per_device_train_batch_size"]
    what = f"{each.what}, batches of {batch} | a bare PyTorch loop"
    return bench_row(f"training, {each.name}", "rows/cpu-s", n / spent["ours"], n / spent["bare"], what)


def _examples(n: int) -> list[Example]:
    """`n` rows as SFT gets them: half of them steps of the expert's successes, the others critiques."""
    found, rng, starts = [], np.random.default_rng(0), [(seed, 0) for seed in range(-(-n // 8))]
    for name in TASKS:
        chosen = task(name)
        episodes = rollout(chosen, ExpertPolicy(chosen, codec_for(chosen)), starts, len(starts))
        ends = [ending(*end[1:], TERSE) for end in endings(episodes)]
        critiques = ends[: n // 8] + contrasts(episodes, n // 8, rng)
        found += random.Random(0).sample(selection.examples(episodes), n // 2 - len(critiques)) + critiques
    random.Random(0).shuffle(found)
    return found


def _ours(each: Compared, checkpoint: Path, train: Callable[..., Any]) -> float:
    """CPU seconds."""
    backend = load_trainable(checkpoint, ModelSettings())
    reference = [load_trainable(checkpoint, ModelSettings()).model] if each.section == "dpo" else []
    with TemporaryDirectory() as scratch:
        started = time.process_time()
        train(backend.model, *reference, backend.processor, each.rows, Path(scratch), each.settings)
        return time.process_time() - started


def _bare(each: Compared, checkpoint: Path) -> float:
    """CPU seconds."""
    backend = load_trainable(checkpoint, ModelSettings())
    model, loss = backend.model.train(), _sft_loss(backend.model)
    if each.section == "dpo":
        loss = _dpo_loss(backend.model, load_trainable(checkpoint, ModelSettings()).model.eval())
    started = time.process_time()
    rows = _read(backend.processor, each.rows, each.answers)
    optimiser = torch.optim.AdamW(model.parameters(), lr=each.settings["learning_rate"], weight_decay=0.0, fused=True)
    for batch in _batches(rows, each.settings):
        flat = [row[i] for i in range(len(each.answers)) for row in batch]  # all chosen, then all rejected
        loss(_collated(flat, backend.processor.tokenizer.pad_token_id)).backward()
        optimiser.step()
        optimiser.zero_grad()
    return time.process_time() - started


def _batches(rows: Sequence[Any], settings: Mapping[str, Any]) -> Iterator[list[Any]]:
    rng, size = random.Random(0), settings["per_device_train_batch_size"]
    for _ in range(settings["num_train_epochs"]):
        order = rng.sample(range(len(rows)), len(rows))
        for first in range(0, len(order), size):
            yield [rows[i] for i in order[first : first + size]]


def _read(processor: ProcessorMixin, rows: Sequence[Asked], answers: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Of each row, its answers as inputs with `labels`. All rows are read in one call, a repeated one once."""
    distinct = list({id(row): row for row in rows}.values())
    asked = [processor.apply_chat_template(r.prompt, add_generation_prompt=True, tokenize=False) for r in distinct]
    frames = [[Image.fromarray(frame) for frame in row.frames] for row in distinct]
    made = processor(text=asked, images=frames, padding=True, return_tensors="pt", add_special_tokens=False)
    ids, mask = made.pop("input_ids"), made.pop("attention_mask").bool()
    read = {}
    for i, row in enumerate(distinct):
        prompt, images = ids[i][mask[i]], {name: value[i] for name, value in made.items()}
        read[id(row)] = []
        for name in answers:
            whole = processor.apply_chat_template([*row.prompt, *assistant(getattr(row, name))], tokenize=False)
            said = processor.tokenizer(whole.removeprefix(asked[i]), add_special_tokens=False, return_tensors="pt")
            answer = said["input_ids"][0]
            labels = torch.cat([torch.full_like(prompt, -100), answer])
            read[id(row)].append({"input_ids": torch.cat([prompt, answer]), "labels": labels, **images})
    return [read[id(row)] for row in rows]


def _collated(rows: Sequence[Mapping[str, torch.Tensor]], pad: int) -> dict[str, torch.Tensor]:
    """Padded on the right."""
    fill = {"input_ids": pad, "labels": -100}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    batch = {name: pad_sequence(some, True, fill.get(name, 0)) for name, some in columns.items()}
    lengths = torch.tensor([len(ids) for ids in columns["input_ids"]])
    batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
    return batch


def _sft_loss(model: PreTrainedModel) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    return lambda batch: model(**batch, use_cache=False).loss


def _dpo_loss(model: PreTrainedModel, reference: PreTrainedModel) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """Rafailov et al. (2023), with the likelihood of the chosen answers beside it, as in configs/demo.yaml."""

    def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = batch.pop("labels")
        (chosen, rejected), (n, _) = _log_probabilities(model, batch, labels)
        with torch.no_grad():
            (chosen_before, rejected_before), _ = _log_probabilities(reference, batch, labels)
        margin = chosen - chosen_before - rejected + rejected_before
        return -functional.logsigmoid(DPO["beta"] * margin).mean() - chosen.sum() / n.sum()

    return loss


def _log_probabilities(
    model: PreTrainedModel, batch: Mapping[str, torch.Tensor], labels: torch.Tensor
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Of the chosen and of the rejected answers, and their numbers of tokens."""
    wanted = labels[:, 1:]
    of_all = model(**batch, use_cache=False).logits[:, :-1].log_softmax(-1)
    each = of_all.gather(2, wanted.clamp(min=0)[..., None])[..., 0] * (wanted != -100)
    return each.sum(1).chunk(2), (wanted != -100).sum(1).chunk(2)
