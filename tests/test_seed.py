"""The seed policy that ships: what its config makes, small, and fluent in the tasks' answers."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from agent.config import Pretrain, load
from envs.registry import TASKS
from policies import prompt
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
