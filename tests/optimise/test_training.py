"""trl's trainers on a handful of rows: SFT learns the answers, DPO raises the margin of the chosen ones."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import TrainerCallback

from agent.config import Pretrain, Stage
from agent.optimise.dpo import train_dpo
from agent.optimise.pretrain import caption_examples, critic_examples, demonstrations, pretrain
from agent.optimise.sft import train_sft
from agent.organise.outcome import Outcome
from agent.organise.rows import Pair, dpo_rows, rehearsal, sft_rows
from envs.errors import UserError
from envs.registry import TASKS
from envs.suites.tabletop.env import GOALS
from envs.suites.tabletop.reach import SUCCESS_RADIUS
from envs.suites.tabletop.words import BIN_WIDTH
from envs.task import Teacher
from policies.action_codec import action_of, codec_for
from policies.backend import Request
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_backend

SFT = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "logging_steps": 1}
DPO = {"per_device_train_batch_size": 8, "learning_rate": 2e-4, "logging_steps": 1, "beta": 0.3}


class Losses(TrainerCallback):
    def __init__(self):
        self.values = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.values.append(logs["loss"])


@pytest.fixture(scope="module")
def codec():
    return codec_for(TASKS["reach"])


@pytest.fixture(scope="module")
def examples(codec):
    return list(demonstrations(TASKS["reach"], codec, range(4)))[:8]


def preferences(examples):
    """Pairs: the right answer of each observation over the right answer of another one."""
    return [
        Pair(e.frames, e.prompt, e.answer, examples[i - 4].answer, Outcome(1.0, 0.5)) for i, e in enumerate(examples)
    ]


def log_probability(backend, frames, prompt, answer):
    """Log probability of the answer and its end token, by one plain forward pass."""
    processor = backend.processor
    chat = processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[chat + answer + "</s>"], images=[[Image.fromarray(frames[0])]], return_tensors="pt")
    n = len(processor.tokenizer(answer + "</s>")["input_ids"])
    with torch.inference_mode():
        log_probabilities = backend.model.eval()(**inputs).logits[0, :-1].log_softmax(-1)
    return log_probabilities[-n:].gather(1, inputs["input_ids"][0, -n:, None]).sum().item()


def margins(backend, pairs):
    return np.array(
        [
            log_probability(backend, p.frames, p.prompt, p.chosen)
            - log_probability(backend, p.frames, p.prompt, p.rejected)
            for p in pairs
        ]
    )


@pytest.mark.slow
def test_imitation_learns_the_answers(fresh_backend, codec, examples, tmp_path):
    """Checked by constrained generation, so that training and acting must use the same chat template."""
    losses = Losses()
    settings = SFT | {"max_steps": 40}
    metrics = train_sft(fresh_backend.model, fresh_backend.processor, examples, tmp_path, settings, callbacks=[losses])
    assert len(losses.values) == 40
    assert losses.values[14] < 0.2 * losses.values[0]
    assert metrics["train_loss"] == pytest.approx(np.mean(losses.values), rel=0.01)

    trained = HFBackend(fresh_backend.model, fresh_backend.processor)
    requests = [Request(e.frames, e.prompt) for e in examples]
    answers = trained.generate(requests, codec.regex, 0, range(8))
    assert sum(a == e.answer for a, e in zip(answers, examples, strict=True)) >= 7


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights(nano_checkpoint, examples, tmp_path):
    def trained(seed):
        backend = load_backend(nano_checkpoint)
        settings = SFT | {"max_steps": 3, "per_device_train_batch_size": 2, "seed": seed}
        train_sft(backend.model, backend.processor, examples, tmp_path, settings)
        return backend.model.state_dict()

    once, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not all(torch.equal(once[name], other[name]) for name in once)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [{}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]}])
def test_preference_raises_the_margin_of_the_chosen(nano_checkpoint, examples, tmp_path, loss):
    backend, reference = load_backend(nano_checkpoint), load_backend(nano_checkpoint)
    pairs = preferences(examples)
    before = margins(backend, pairs)
    chosen_before = [log_probability(backend, p.frames, p.prompt, p.chosen) for p in pairs]
    settings = DPO | {"max_steps": 6} | loss
    train_dpo(backend.model, reference.model, backend.processor, pairs, tmp_path, settings)
    assert np.mean(margins(backend, pairs) - before) > 3
    np.testing.assert_array_equal(margins(reference, pairs), before)  # what it is held against does not move
    if loss:  # the likelihood of the chosen is kept up
        assert np.mean([log_probability(backend, p.frames, p.prompt, p.chosen) for p in pairs]) > np.mean(chosen_before)


@pytest.mark.slow
def test_a_rehearsed_example_is_imitated_and_prefers_nothing(nano_checkpoint, examples, tmp_path):
    """Chosen and rejected are equal, so that the preference has no gradient and only the SFT term trains."""

    def trained(rows, **loss):
        backend, reference = load_backend(nano_checkpoint), load_backend(nano_checkpoint)
        train_dpo(backend.model, reference.model, backend.processor, rows, tmp_path, DPO | {"max_steps": 2} | loss)
        return torch.cat([value.flatten() for value in backend.model.state_dict().values()])

    def moved_by_preferring(rows):
        alone = trained(rows, loss_type=["sft"], loss_weights=[1.0])
        beside = trained(rows, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 1.0])
        return (alone - beside).abs()

    rehearsed = moved_by_preferring([rehearsal(example) for example in examples[:4]])
    preferred = moved_by_preferring(preferences(examples)[:4])
    assert rehearsed.mean() < preferred.mean() / 1000  # not the most: Adam makes steps of gradients' last bits
    assert preferred.max() > DPO["learning_rate"]  # a step of Adam


def test_training_leaves_no_checkpoints(fresh_backend, examples, tmp_path):
    train_sft(fresh_backend.model, fresh_backend.processor, examples[:2], tmp_path / "out", SFT | {"max_steps": 1})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_rows_hold_frames_prompt_and_answers(examples):
    (row,) = sft_rows(examples[:1])
    assert set(row) == {"images", "prompt", "completion"}
    np.testing.assert_array_equal(np.array(row["images"][0]), examples[0].frames[0])
    assert row["completion"][0]["content"][0]["text"] == examples[0].answer
    (row,) = dpo_rows(preferences(examples)[:1])
    assert set(row) == {"images", "prompt", "chosen", "rejected"}
    assert row["chosen"][0]["content"][0]["text"] == examples[0].answer
    assert row["rejected"][0]["content"][0]["text"] == examples[-4].answer
    images = [part for part in row["prompt"][0]["content"] if part["type"] == "image"]
    assert len(images) == len(row["images"]) == 1


# what the seed policy is made from -------------------------------------------------------------------------------
def test_demonstrations_are_the_experts_episodes(codec):
    made = list(demonstrations(TASKS["reach"], codec, [3]))
    env = TASKS["reach"].make()
    env.reset(seed=3)
    for example in made:
        np.testing.assert_array_equal(example.frames[0], env.render())
        assert example.answer == codec.encode(*TASKS["reach"].teacher.expert(env))
        _, _, terminated, _, _ = env.step(codec.decode(example.answer)[1])
    assert terminated
    env.close()


def test_a_disturbed_demonstration_shows_how_the_expert_recovers(codec):
    """After a random action the expert goes on from there. The same seed gives the same disturbances."""
    straight, made, again = (list(demonstrations(TASKS["reach"], codec, [3], share)) for share in (0.0, 0.5, 0.5))
    assert [example.answer for example in made] == [example.answer for example in again]
    assert made[0].answer == straight[0].answer
    assert len(made) > len(straight)
    assert not {example.frames.tobytes() for example in made[2:]} <= {example.frames.tobytes() for example in straight}


def test_what_fails_is_no_demonstration():
    task = TASKS["reach"]
    lazy = Teacher(lambda env: (task.teacher.expert(env)[0], np.zeros(2, np.float32)))
    assert not list(demonstrations(replace(task, teacher=lazy), codec_for(task), range(3)))


def text(example):
    return example.prompt[0]["content"][-1]["text"]


@pytest.mark.parametrize("name", ["reach", "push"])
def test_captions_and_questions_agree_about_a_scene(name):
    scenes = list(caption_examples(TASKS[name], range(12), questions=2))
    assert len(scenes) == 12
    asked = Counter()
    for caption, *questions in scenes:
        things = {" ".join(t.split()[:2]): [int(n) for n in t.split()[2:]] for t in caption.answer.split("; ")}
        columns = [place[0] for place in things.values()]
        assert columns == sorted(columns)  # left to right
        for question in questions:
            np.testing.assert_array_equal(question.frames, caption.frames)
            kind = text(question).split()[0]
            asked[kind] += 1
            if kind == "where":
                names = text(question).removeprefix("where is the ").split(", the ")
                assert question.answer == "; ".join(f"{n} {things[n][0]} {things[n][1]}" for n in names)
            else:
                first, *second = re.findall(r"the (\w+ \w+)", text(question))
                gripper = np.array([int(n) for n in text(question).split()[-2:]])
                numbers = [int(n) for n in re.findall(r"[+-]?\d+", question.answer)]
                expected, goal = [*things[first]], np.array(things[first])
                if second:
                    target = things[second[0]]
                    expected += target
                    word = re.search("right|left|far|near", question.answer)[0]
                    axis, sign = {"right": (0, 1), "left": (0, -1), "far": (1, 1), "near": (1, -1)}[word]
                    assert sign * np.subtract(target, things[first])[axis] == np.abs(np.subtract(target, goal)).max()
                    goal[axis] = np.clip(goal[axis] - 5 * sign, 0, 31)  # behind the first
                    if kind == "through":
                        goal = np.array(target)
                assert question.answer.split("; ")[-1].startswith(kind)
                assert numbers == [*expected, *goal, *(goal - gripper)]
    assert asked["where"] == 24
    assert asked["over"] == 12
    assert asked["behind"] == asked["through"] >= 6


@pytest.mark.parametrize("name", ["reach", "push"])
def test_instructions_lead_where_the_expert_heads_and_never_to_heldout_goals(name):
    asked = Counter()
    for scene in caption_examples(TASKS[name], range(12), questions=1, instructions=True):
        for example in scene:
            words = text(example)
            if words.startswith(("reach", "push")):
                instruction, gripper = words.split(". ")
                goal = " ".join(instruction.split()[2:4])
                assert goal in GOALS["practice"]
                asked[words.split()[0]] += 1
                *_, heading = example.answer.split("; ")
                place, way = np.array(heading.split()[1:], int).reshape(2, 2)
                np.testing.assert_array_equal(way, place - np.array(gripper.split()[1:], int))
                assert example.answer.startswith(f"{goal} ")
    assert asked["reach"] >= 8
    assert (asked["push"] >= 8) == (name == "push")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reach", "push"])
def test_the_critic_is_asked_about_measured_answers_and_real_endings(backend, name):
    task = TASKS[name]
    codec, asked, alike = codec_for(task), Counter(), 0
    for scene in critic_examples(task, backend, range(700_000, 700_012), answers=12):
        for example in scene:
            words = text(example)
            verdict = example.answer.split()[-1]
            if words.endswith("good?"):
                reason, _, _ = example.answer.rpartition("; ")
                own, judged = " ".join(reason.split()[:3]), action_of(words).removesuffix(". good?")
                assert reason == codec.instead(judged, own)
                assert own != judged or verdict == "yes"
                alike += own == judged
            elif words.endswith("done?"):
                reason, _, _ = example.answer.rpartition("; ")
                assert re.fullmatch(task.language.ending_regex, reason)
                assert " ".join(reason.split()[:2]) in words
                assert len(example.frames) == 2  # the first and the last
            asked[words.split()[-1], verdict] += 1
    assert asked["good?", "yes"] == asked["good?", "no"] > 3
    assert alike < asked["good?", "yes"]  # what is as good as the best is good too
    assert min(asked["done?", "no"], asked["done?", "yes"]) > 20


def test_what_the_critic_is_told_of_endings_is_true(backend):
    """The critic's label is yes where the gripper is over the position that the answer names."""
    for scene in critic_examples(TASKS["reach"], backend, range(700_000, 700_024), answers=1):
        for example in scene:
            if text(example).endswith("done?"):
                gripper, place = (np.array(re.findall(r" (\d+)", t)[:2], int) for t in (text(example), example.answer))
                apart = np.linalg.norm(gripper - place) * BIN_WIDTH
                near = SUCCESS_RADIUS + BIN_WIDTH if example.answer.endswith("yes") else SUCCESS_RADIUS - BIN_WIDTH
                assert (apart < near) == example.answer.endswith("yes")


@pytest.mark.slow
def test_pretraining_goes_on_from_a_finished_stage_as_if_it_had_not_stopped(tmp_path):
    sft = {"max_steps": 2, "per_device_train_batch_size": 2}
    stages = {"sight": Stage(2, 500_000, sft=sft), "form": Stage(0, 500_000, demonstrations={"reach": 1}, sft=sft)}
    whole, half, rest = (str(tmp_path / name) for name in ("whole", "half", "rest"))
    pretrain(Pretrain(whole, ("reach",), stages))
    pretrain(Pretrain(half, ("reach",), {"sight": Stage({"reach": 2}, 500_000, sft=sft)}))
    pretrain(Pretrain(rest, ("reach",), {"form": stages["form"]}, start=half))
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "half", "rest")}
    assert weights["rest"] == weights["whole"] != weights["half"]


def test_pretraining_from_a_missing_checkpoint_leaves_nothing(tmp_path):
    config = Pretrain(str(tmp_path / "seed"), ("reach",), {"sight": Stage(1, 500_000)}, start=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no checkpoint in"):
        pretrain(config)
    assert not list(tmp_path.iterdir())
