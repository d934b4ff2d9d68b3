"""The seed policy that ships: what its config makes, small, and fluent in the tasks' answers."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from agent.config import Pretrain, load
from agent.evaluate import verdict_scores
from agent.pretrain import critic_examples
from envs.registry import TASKS
from envs.splits import seeds
from policies import critic, prompt
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backend_hf import HFBackend

ROOT = Path(__file__).parent.parent
SEED = ROOT / "policies" / "seed"


def test_it_is_what_the_config_makes():
    made = json.loads((SEED / "pretrain.json").read_text())
    assert made["sha256"] == hashlib.sha256((SEED / "model.safetensors").read_bytes()).hexdigest()
    config = load(ROOT / "configs" / "pretrain.yaml", kind=Pretrain)
    assert made["config"] == json.loads(json.dumps(asdict(config)))


def test_it_is_small():
    assert sum(path.stat().st_size for path in SEED.iterdir()) < 10_000_000


@pytest.mark.parametrize("name", TASKS)
def test_it_looks_at_what_is_named(name):
    """Its thought begins with the object of the instruction, spelt in whole words."""
    task, backend = TASKS[name], HFBackend.load(SEED)
    env, codec = task.make(), codec_for(task)
    observations = []
    for seed in range(4):
        env.reset(seed=seed)
        observations.append(task.observe(env))
    env.close()
    requests = [Request(o.frames, prompt.act(o)) for o in observations]
    for observation, answer in zip(observations, backend.generate(requests, codec.regex, 0.0, [0] * 4), strict=True):
        thought, _ = codec.decode(answer)
        named = " ".join(thought.split()[:2])
        assert f"the {named}" in observation.instruction
        assert len(backend.processor.tokenizer(answer)["input_ids"]) < 40


# its critic ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["reach", "push"])
def questions(request):
    """(task, backend, questions to the critic) about scenes of gate seeds, which it was not trained on."""
    task, backend = TASKS[request.param], HFBackend.load(SEED)
    return task, backend, [e for scene in critic_examples(task, backend, seeds("gate", 40)) for e in scene]


def verdicts(backend, examples, regex, shuffled=False):
    """`verdict_scores`, and the share of yes, of questions with their own frames, or those of others."""
    order = np.random.default_rng(0).permutation(len(examples)) if shuffled else range(len(examples))
    requests = [Request(examples[i].frames, e.prompt) for i, e in zip(order, examples, strict=True)]
    yes = backend.score(requests, critic.VERDICTS, regex)[0][:, 0]
    return verdict_scores(yes, [e.answer.endswith(critic.YES) for e in examples]), np.mean(yes > 0.5)


def kind(examples, word):
    return [e for e in examples if e.prompt[0]["content"][-1]["text"].endswith(word)]


def test_its_critic_tells_whether_it_is_done_by_looking(questions):
    task, backend, asked = questions
    scores, yes = verdicts(backend, kind(asked, "done?"), task.end_regex)
    assert scores["auroc"] > 0.8
    assert 0.1 < yes < 0.9
    blind, _ = verdicts(backend, kind(asked, "done?"), task.end_regex, shuffled=True)
    assert blind["auroc"] < 0.65


def test_its_critic_tells_good_answers_from_bad_ones(questions):
    task, backend, asked = questions
    scores, yes = verdicts(backend, kind(asked, "good?"), codec_for(task).action.instead_regex)
    assert scores["auroc"] > 0.65
    assert 0.1 < yes < 0.9
