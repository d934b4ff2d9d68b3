"""Rows for trl hold frames as PNGs or references, and give what rows with decoded frames gave, bit for bit."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from agent.collect.rollout import rollout
from agent.optimise.dpo import dpo_trainer
from agent.optimise.sft import sft_trainer, trainer_arguments
from agent.organise import selection
from agent.organise.outcome import Outcome
from agent.organise.rows import Example, Pair, dpo_rows, rehearsal, sft_rows
from agent.organise.store import EpisodeStore
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy
from policies.prompt import assistant


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Of the expert's episodes, read from a store; also rows of two frames, and of rows without any."""
    task, store = TASKS["reach"], EpisodeStore(tmp_path_factory.mktemp("rows") / "episodes")
    store.append(rollout(task, ExpertPolicy(task, codec_for(task)), [(seed, 0) for seed in range(2)]))
    return selection.examples(store)[:7]


@pytest.fixture(scope="module")
def pairs(examples):
    answers = [e.answer for e in reversed(examples)]
    preferred = [Pair(e.shown, e.prompt, e.answer, answers[i], Outcome(1, 0)) for i, e in enumerate(examples)]
    return [*preferred, rehearsal(examples[0])]


def decoded(rows, **answers):
    """The rows as they were made before: all frames as pictures in the table."""
    return Dataset.from_list(
        [
            {"images": [Image.fromarray(frame) for frame in row.frames], "prompt": row.prompt}
            | {column: assistant(getattr(row, name)) for column, name in answers.items()}
            for row in rows
        ]
    )


def assert_same_batches(trainer, before):
    """All batches of the first epoch, in the order of the trainer's own sampler."""
    new, old = ([*t.get_train_dataloader()] for t in (trainer, before))
    assert len(new) == len(old) > 1
    for a, b in zip(new, old, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


SETTINGS = {"per_device_train_batch_size": 3, "seed": 3}


def arguments(config, backend, tmp_path):
    return config(output_dir=str(tmp_path), **trainer_arguments(backend.model, SETTINGS))


def test_batches_of_sft_are_as_before(fresh_backend, examples, tmp_path):
    model, processor = fresh_backend.model, fresh_backend.processor
    rows = decoded(examples, completion="answer")
    before = SFTTrainer(
        model, arguments(SFTConfig, fresh_backend, tmp_path), train_dataset=rows, processing_class=processor
    )
    assert_same_batches(sft_trainer(model, processor, examples, tmp_path, SETTINGS), before)


def test_batches_of_dpo_are_as_before(fresh_backend, pairs, tmp_path):
    model, processor = fresh_backend.model, fresh_backend.processor
    rows = decoded(pairs, chosen="chosen", rejected="rejected")
    args = arguments(DPOConfig, fresh_backend, tmp_path)
    before = DPOTrainer(model, copy.deepcopy(model), args, train_dataset=rows, processing_class=processor)
    assert_same_batches(dpo_trainer(model, copy.deepcopy(model), processor, pairs, tmp_path, SETTINGS), before)


def test_rows_are_those_of_decoded_frames(examples, pairs):
    new = sft_rows(examples), dpo_rows(pairs)
    old = decoded(examples, completion="answer"), decoded(pairs, chosen="chosen", rejected="rejected")
    for a, b in zip(new, old, strict=True):
        each = list(a), [a[i] for i in range(len(a))], list(b)
        for x, y, expected in zip(*each, strict=True):
            for row in (x, y):
                assert row | {"images": 0} == expected | {"images": 0}
                np.testing.assert_array_equal(np.stack(row["images"]), np.stack(expected["images"]))
                assert row["images"][0].mode == "RGB"


def test_several_frames_and_none(examples):
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3), np.uint8)
    several, none = Example(frames, examples[0].prompt, "a"), replace(examples[0], shown=())
    rows = sft_rows([several, none, examples[0]])
    assert [len(row["images"]) for row in rows] == [3, 0, 1]
    np.testing.assert_array_equal(np.stack(rows[0]["images"]), frames)
    np.testing.assert_array_equal(several.frames, frames)


def test_rows_hold_no_decoded_frame_and_travel(examples):
    """Into the processes of a data loader, for one; what travels of a frame in a store is its place."""
    rows = sft_rows(examples)
    travelled = pickle.dumps(rows)
    assert len(travelled) < sum(e.frames.nbytes for e in examples) / 4
    assert np.array_equal(pickle.loads(travelled)[2]["images"][0], rows[2]["images"][0])
    assert copy.deepcopy(rows)[1]["images"] == rows[1]["images"]
