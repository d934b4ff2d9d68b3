"""The seed policy that ships: it is what its config makes, small, and uses the frames."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from agent.config import Pretrain, load
from agent.measure.statistics import verdict_scores
from agent.optimise.pretrain import critic_examples
from agent.record.provenance import weights_sha256
from envs.errors import UserError
from envs.observation import Observation
from envs.registry import TASKS, tagged
from envs.splits import seeds
from envs.validation import checked
from policies import critic, prompt
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backends.loading import load_backend

ROOT = Path(__file__).parents[2]
SEED = ROOT / "policies" / "seed"
LEARNED = {TASKS[name].env.id for name in load(ROOT / "configs" / "pretrain.yaml", kind=Pretrain).tasks}
KNOWN = [t.name for t in map(TASKS.get, tagged("tabletop")) if t.env.id in LEARNED and "appearance" not in t.env.kwargs]


MADE = json.loads((SEED / "pretrain.json").read_text())


def leaves(tree, prefix=()):
    """Flattens nested mappings: path of keys -> value."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {path: value for key, item in tree.items() for path, value in leaves(item, (*prefix, key)).items()}


def differences(made, config):
    """Dotted keys whose values differ. A key that `made` does not have yet has today's default.

    Raises UserError for a key that today's configs no longer know.
    """
    before, now = (leaves(asdict(c)) for c in (checked(Pretrain, made), config))
    return {".".join(key) for key in {*before, *now} if before.get(key) != now.get(key)}


def test_it_is_what_the_config_makes():
    assert MADE["sha256"] == weights_sha256(SEED)
    assert differences(MADE["config"], load(ROOT / "configs" / "pretrain.yaml", kind=Pretrain)) == set()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stages.sight.sft.max_steps", 4601),
        ("stages.sight.wander", 11),  # which the seed's own config does not say
        ("stages.form.demonstrations.push", 51),
        ("stages.form.demonstrations.lift", 1),
        ("stages.critic.sft.weight_decay", 0.1),
        ("seed", 1),
        ("new_words", True),
    ],
)
def test_another_config_is_told_apart(key, value):
    config = load(ROOT / "configs" / "pretrain.yaml", kind=Pretrain, changes={key: value})
    assert differences(MADE["config"], config) == {key}


def test_a_key_that_is_no_longer_known_is_no_default():
    with pytest.raises(UserError, match="unknown config key"):
        differences(MADE["config"] | {"forgotten": 1}, load(ROOT / "configs" / "pretrain.yaml", kind=Pretrain))


def test_it_is_small():
    assert sum(path.stat().st_size for path in SEED.iterdir()) < 10_000_000


@pytest.mark.parametrize("name", KNOWN)
def test_it_looks_at_what_is_named(name):
    """Its thought begins with the object that the instruction names."""
    task, backend = TASKS[name], load_backend(SEED)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reach", "push"])
def test_its_critic_looks(name):
    """Its AUROC on unseen scenes is above chance, and at chance with the frames of other scenes."""
    task, backend = TASKS[name], load_backend(SEED)
    rows = [e for scene in critic_examples(task, backend, seeds("practice", 120, 740_000)) for e in scene]
    for question, floor in (("good?", 0.62), ("done?", 0.8)):
        asked = [e for e in rows if e.prompt[0]["content"][-1]["text"].endswith(question)]
        truth = [e.answer.endswith("yes") for e in asked]

        def verdicts(frames, asked=asked, question=question):
            words = [e.prompt[0]["content"][-1]["text"].split(". ") for e in asked]
            seen = [Observation(f, *some[:2]) for f, some in zip(frames, words, strict=True)]
            if question == "good?":
                critiques = critic.judge(backend, codec_for(task), seen, [some[2] for some in words])
            else:
                critiques = critic.conclude(backend, task.language, seen)
            return [c.verdict for c in critiques]

        assert verdict_scores(verdicts([e.frames for e in asked]), truth)["auroc"] > floor
        blind = []
        for i in range(3):  # of one order alone, the standard error is 0.05
            others = [asked[j].frames for j in np.random.default_rng(i).permutation(len(asked))]
            blind.append(verdict_scores(verdicts(others), truth)["auroc"])
        assert np.mean(blind) < 0.62
