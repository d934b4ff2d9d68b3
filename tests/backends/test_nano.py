"""The embedded policy: its size, its words, its image tokens, its checkpoint."""

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from envs.errors import UserError
from envs.registry import TASKS, tagged
from policies import prompt
from policies.backends import nano
from policies.backends.loading import load_backend

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


def inputs_for(processor, frames=FRAMES[:1], text="reach the red cube"):
    chat = processor.apply_chat_template(
        prompt.user(text, len(frames)), add_generation_prompt=True, tokenize=False, return_dict=False
    )
    return processor(text=[chat], images=[[Image.fromarray(f) for f in frames]], return_tensors="pt")


def logits(backend, **kwargs):
    with torch.inference_mode():
        return backend.model(**inputs_for(backend.processor, **kwargs)).logits


def test_it_is_small(backend):
    assert 1e6 < sum(p.numel() for p in backend.model.parameters()) < 3e6


@pytest.mark.parametrize("n", [1, 2])
def test_a_frame_is_sixteen_tokens(backend, n):
    inputs = inputs_for(backend.processor, FRAMES[:n])
    assert int((inputs["input_ids"] == backend.model.config.image_token_id).sum()) == 16 * n


def test_every_word_of_the_tasks_is_one_token(backend, words):
    tokenizer = backend.processor.tokenizer
    for entry in words:
        if entry != "good?":  # a word and a mark
            assert len(tokenizer.tokenize(f" {entry}")) == len(entry.split()), entry
            assert len(tokenizer.tokenize(entry)) == len(entry.split()), entry  # at the start of an answer


def test_other_words_can_be_spelled(backend):
    tokenizer = backend.processor.tokenizer
    text = "Stack the Zürich gears, 97 of them!"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_words_can_be_added():
    """Old tokens and logits stay; new words are one token each, with distinct embeddings drawn from a fixed seed."""
    backend = load_backend("policies/seed")
    old, new = backend.processor.tokenizer, ("which", "where", "answered", "answer", "an", "(b)", "near by")
    before = logits(backend)
    tokenizer = nano.add_words(backend.model, backend.processor, new).tokenizer
    torch.testing.assert_close(logits(backend)[..., : len(old)], before)
    text = "reach the red cube over 3 12 +8 -2"
    assert tokenizer(text)["input_ids"] == old(text)["input_ids"]
    for word in ("which", "answered", "answer"):
        for said in (word, f" {word}"):
            assert len(tokenizer.tokenize(said)) == 1 < len(old.tokenize(said)), said
    text = "Which (b) answers, by Zürich an answered where?"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    rows = torch.nn.functional.normalize(backend.model.get_input_embeddings().weight)
    assert len(rows) == len(tokenizer) > len(old)
    likeness = rows @ rows.T - torch.eye(len(rows))
    assert likeness[len(old) :].max() < 0.6 < likeness.max()
    again = load_backend("policies/seed")
    nano.add_words(again.model, again.processor, new)
    for name, weights in backend.model.state_dict().items():
        assert torch.equal(weights, again.model.state_dict()[name]), name


def test_words_are_added_to_a_bpe_alone(backend):
    from tokenizers import models, pre_tokenizers

    other = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UserError, match="of the kind WordLevel; valid: BPE"):
        nano._with_words(other.to_str(), ["b"])


def test_an_expert_answer_costs_few_tokens(backend):
    from policies.action_codec import codec_for

    for task in map(TASKS.get, tagged("tabletop")):
        env = task.make()
        env.reset(seed=0)
        answer = codec_for(task).encode(*task.teacher.expert(env))
        assert len(backend.processor.tokenizer(answer)["input_ids"]) <= 24 < backend.settings.max_new_tokens
        env.close()


def test_it_looks_at_the_picture_and_reads_the_instruction(backend):
    seen = logits(backend)
    assert torch.isfinite(seen).all()
    assert not torch.equal(seen, logits(backend, frames=FRAMES[1:]))
    assert not torch.equal(seen, logits(backend, text="reach the blue cube"))


def test_a_checkpoint_makes_the_round_trip(backend, tmp_path):
    backend.save(tmp_path / "policy")
    again = load_backend(tmp_path / "policy")
    assert (tmp_path / "policy" / "model.safetensors").is_file()
    torch.testing.assert_close(logits(again), logits(backend), rtol=0, atol=0)
    assert inputs_for(again.processor).keys() == inputs_for(backend.processor).keys()


def test_the_seed_decides_the_weights(words):
    processor = nano.build_processor(words)
    once, again, other = (nano.build_model(processor, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not all(torch.equal(once[name], other[name]) for name in once)


@pytest.mark.parametrize("made", [False, True])
def test_a_missing_checkpoint_is_named(tmp_path, made):
    folder = tmp_path / "nothing"
    if made:
        folder.mkdir()
    with pytest.raises(UserError, match=r"no checkpoint in '.*nothing'; valid: a folder with config\.json"):
        load_backend(folder)
