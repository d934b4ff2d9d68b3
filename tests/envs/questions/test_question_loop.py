"""Questions in the loop: their words are tokens, and one round runs on both sets."""

import json
from dataclasses import asdict

import pytest
from shipped_questions import KINDS, SHIPPED, declare

from agent.collect.play import play
from agent.collect.verify import Verifier
from agent.collect.workers import Workers
from agent.commands.checks import check_improve
from agent.config import load as load_config
from agent.loop import improve
from agent.organise.store import EpisodeStore
from agent.record.provenance import FILE
from agent.record.rundir import RunDir
from envs.splits import seeds
from envs.suites.questions.tasks import question_task
from envs.suites.questions.vqa_data import load, words
from policies import critic, prompt
from policies.action_codec import codec_for
from policies.backends import nano
from policies.backends.huggingface import HFBackend
from policies.backends.loading import load_backend


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A checkpoint of the embedded policy, its weights random, with the words of both shipped sets as tokens."""
    folder = tmp_path_factory.mktemp("reader") / "policy"
    known = {word for answers in KINDS for word in words(str(SHIPPED / answers), answers)}
    known |= {word for answers in KINDS for word in codec_of(answers).action.vocabulary}
    HFBackend(*nano.build((*sorted(known), *prompt.WORDS, *critic.VERDICTS), seed=0)).save(folder)
    return folder


def codec_of(answers):
    return codec_for(question_task(answers, str(SHIPPED / answers), answers))


def test_words_are_single_tokens(reader):
    tokenizer = load_backend(reader).processor.tokenizer
    row = load(str(SHIPPED / "choices"), "choices")["practice"][0]
    said = row.instruction.replace("(", "( ").split()
    assert len(tokenizer(row.instruction, add_special_tokens=False)["input_ids"]) <= 2 * len(said)


@pytest.mark.slow
def test_the_loop_runs_on_questions(reader, tmp_path):
    """Random letters succeed often enough to train on. Random numbers never do, and the run goes on."""
    names = [declare(tmp_path, answers).name for answers in KINDS]
    trainer = {"max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1}
    values = {
        "policy": str(reader),
        "tasks": names,
        "out": str(tmp_path / "run"),
        "rounds": 1,
        "n_envs": 16,
        "threads": 1,
        "collect": {"starts": 6, "attempts": 4},
        "branch": {"starts": 8, "where": "early", "answers": 4},
        "select": {"critiques": 10},
        "critic": {"proposals": 2},
        "gate": {"episodes": 4, "p_value": 1.0},
        "evaluation": {"tasks": names, "episodes": 4, "videos": 1},
        "tracking": {"mode": "disabled"},
        "sft": trainer,
        "dpo": trainer,
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(values))
    config = load_config(path)
    check_improve(config)
    with Workers(1) as workers:
        results = improve(config, RunDir(tmp_path / "run"), workers)
    assert json.loads(json.dumps(asdict(config))) == json.loads(json.dumps(results["config"]))
    (row,) = results["rounds"]
    assert row["episodes"] == 48
    assert min(row["successes"], row["sft_examples"], row["branches"], row["pairs"]) > 0
    assert {row["before"]["n"] for row in results["heldout"].values()} == {4}
    assert len(list((tmp_path / "run" / "round_001" / "videos").glob("*.mp4"))) == 2
    signed = json.loads((tmp_path / "run" / "round_001" / "policy" / FILE).read_text())
    assert set(signed["tasks"]) == set(results["provenance"]["tasks"]) == set(names)
    practised = list(EpisodeStore(tmp_path / "run" / "round_001" / "episodes"))
    assert {e.ending for e in practised} == {"terminated"}
    with Verifier() as verifier:
        assert {verifier.flaw(e) for e in practised} == {""}
    assert all(e.conclusion for e in practised)


def test_an_expert_is_right_by_the_command_too(tmp_path):
    name = declare(tmp_path, "free").name
    assert all(e.success for e in play(name, "expert", [(seed, 0) for seed in seeds("heldout", 20)]))
