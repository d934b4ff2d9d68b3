"""What leaves this project: merged models that plain transformers loads, and model cards of runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from agent.record.card import Card
from agent.record.merging import base_of, merge
from agent.record.provenance import FILE, weights_sha256
from envs.errors import UserError
from policies.backends.adapters import folder
from policies.backends.loading import load_backend, load_trainable
from policies.backends.settings import Lora, ModelSettings
from policies.prompt import user

SETTINGS = ModelSettings(lora=Lora(r=4, alpha=8))
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
RATE = {"k": 45, "n": 60, "rate": 0.75, "ci95": [0.63, 0.84]}
RESULTS = {
    "schema": 1,
    "complete": True,
    "config": {"policy": "owner/model-2B", "tasks": ["reach"], "out": "/elsewhere/run", "sft": {"max_steps": 3}},
    "versions": {"python": "3.11", "torch": "2.13"},
    "provenance": {"source": {"version": "0.1", "commit": "abc", "clean": True}},
    "budget": {"env_steps": 12345, "branch_env_steps": 678, "verify_env_steps": 9},
    "rounds": [{"accepted": True}, {"accepted": False}],
    "heldout": {
        "reach": {
            "before": RATE | {"k": 30, "rate": 0.5, "ci95": [0.38, 0.62]},
            "after": RATE,
            "gain": {"points": 25.0, "ci95": [12.0, 38.0], "p_value": 0.001},
        }
    },
}
PLAIN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("agent", "policies", "envs"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
folder, picture, out = sys.argv[1:]
model = AutoModelForImageTextToText.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder, backend="pil")
messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "reach the red cube"}]}]
text = processor.apply_chat_template([messages], add_generation_prompt=True, tokenize=False)
inputs = processor(text=text, images=[[Image.open(picture)]], return_tensors="pt")
with torch.inference_mode():
    torch.save(model(**inputs).logits[0, -1], out)
assert not {"agent", "policies", "envs"} & set(sys.modules)
"""


def logits(backend):
    """Of the first token of an answer, by a plain forward pass."""
    text = backend.template.prompt(user("reach the red cube"))
    inputs = backend.processor(text=[text], images=[[PICTURE]], return_tensors="pt")
    with torch.inference_mode():
        return backend.model.eval()(**inputs).logits[0, -1]


@pytest.fixture
def adapters(checkpoint, tmp_path):
    """A folder of adapters that change what their base says."""
    backend, generator = load_trainable(checkpoint, SETTINGS), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (p for p in backend.model.parameters() if p.requires_grad):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    backend.save(tmp_path / "adapters")
    return tmp_path / "adapters"


@pytest.fixture
def handeye(tmp_path, monkeypatch, typed):
    """Runs the command in this process, in an empty folder and without a login: (status, stdout, stderr)."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)

    def run(*arguments):
        done = typed(*arguments)
        return done.returncode, done.stdout, done.stderr

    return run


def plain(path, tmp_path):
    """The logits by transformers in a process that cannot import this project."""
    PICTURE.save(tmp_path / "seen.png")
    command = [sys.executable, "-c", PLAIN, str(path), str(tmp_path / "seen.png"), str(tmp_path / "logits.pt")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return torch.load(tmp_path / "logits.pt")


def test_a_merged_policy_loads_in_plain_transformers(handeye, adapters, checkpoint, tmp_path):
    expected = logits(load_backend(adapters))
    assert (logits(load_backend(checkpoint)) - expected).abs().max() > 0.01
    status, out, _ = handeye("merge", adapters, "merged")
    assert (status, out) == (0, "policy   merged\n")
    torch.testing.assert_close(plain(Path("merged").resolve(), tmp_path), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits(load_backend("merged")), expected, rtol=0, atol=1e-4)
    merged, base = (load_file(path / "model.safetensors") for path in (Path("merged"), checkpoint))
    assert {name: (t.shape, t.dtype) for name, t in merged.items()} == {n: (t.shape, t.dtype) for n, t in base.items()}
    assert [path.name for path in Path().iterdir()] == ["merged"]
    signed = json.loads((Path("merged") / FILE).read_text())
    assert signed["parent"]["weights"] == weights_sha256(adapters)
    assert signed["base"]["weights_sha256"] == weights_sha256(checkpoint)
    assert base_of(Path("merged")) == str(checkpoint.resolve())


@pytest.mark.slow
def test_a_folder_of_adapters_is_evaluated_as_any_policy(handeye, adapters):
    """As a path, with its base found by what the folder records."""
    status, out, error = handeye("eval", "reach", "--policy", adapters, "--episodes", 2)
    assert (status, error) == (0, "")
    assert "of 2 episodes" in out


def test_a_whole_policy_loads_in_plain_transformers(llava_checkpoint, tmp_path):
    torch.testing.assert_close(plain(llava_checkpoint, tmp_path), logits(load_backend(llava_checkpoint)))


def test_merging_replaces_nothing_unasked(adapters, nano_checkpoint, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for overwrite, words in ((False, "exists"), (True, "is no checkpoint folder")):
        with pytest.raises(UserError, match=words):
            merge(adapters, tmp_path / "mine", overwrite)
    with pytest.raises(UserError, match="holds what is merged"):
        merge(adapters, adapters, overwrite=True)
    with pytest.raises(UserError, match="has no adapters: it is whole already"):
        merge(nano_checkpoint, tmp_path / "out")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    merge(adapters, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    merge(adapters, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


@pytest.fixture
def run(nano_checkpoint, tmp_path):
    """A run's folder, moved since, with a last policy and results."""
    policy = tmp_path / "run" / "round_002" / "policy"
    shutil.copytree(nano_checkpoint, policy)
    results = RESULTS | {"policy": "/elsewhere/run/round_002/policy"}
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    return tmp_path / "run"


def test_a_card_says_what_was_measured_and_how(run):
    card = ModelCard(Card.of(run, "apache-2.0").text("me/reacher"))
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "owner/model-2B"
    assert card.data.base_model_relation == "finetune"
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("reach", "success_rate", 75.0)
    text = card.text
    assert "| reach | 50 % [38, 62] | 75 % [63, 84] | +25 [+12, +38] | 60 |" in text
    assert "`handeye improve config.yaml`" in text
    assert "Rounds: 2, of which 1 passed the gate" in text
    assert "Environment steps: 12,345" in text
    assert "commit abc" in text
    assert "handeye eval TASK --policy me/reacher" in text
    assert "/elsewhere" not in card.content
    config = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert config == {"policy": "owner/model-2B", "tasks": ["reach"], "sft": {"max_steps": 3}}


def test_a_pretrained_policy_has_a_card_without_results():
    text = Card.of(Path(__file__).parents[2] / "policies" / "seed").text("me/seed")
    assert "`handeye pretrain config.yaml`" in text
    assert "## Success" not in text
    assert "No licence was stated" in text
    assert "model-index" not in text


def test_pushing_sends_the_last_policy_with_its_card(handeye, run, monkeypatch):
    sent = []
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    monkeypatch.setattr(huggingface_hub, "create_repo", lambda repo, **how: sent.append((repo, how)))
    monkeypatch.setattr(huggingface_hub, "upload_folder", lambda **how: sent.append(how))
    status, out, _ = handeye("push", run, "me/reacher", "--private", "--licence", "mit")
    assert status == 0
    assert out.splitlines()[-1] == "sent     https://huggingface.co/me/reacher"
    (repo, made), files = sent
    assert (repo, made["private"]) == ("me/reacher", True)
    assert files["folder_path"] == run / "round_002" / "policy"
    assert {"*.safetensors", "*.md"} <= set(files["allow_patterns"])
    assert ModelCard.load(files["folder_path"] / "README.md").data.license == "mit"


def test_a_dry_run_writes_the_card_and_sends_nothing(handeye, run, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "upload_folder", lambda **how: pytest.fail("sent"))
    for name in (FILE, "pretrain.json"):
        (run / "round_002" / "policy" / name).write_text("{}")
    status, out, _ = handeye("push", run, "me/reacher", "--dry-run")
    assert status == 0
    names = {Path(line.split()[-1]).name for line in out.splitlines()[:-1]}
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not names & {FILE, "pretrain.json"}
    assert out.splitlines()[-1] == f"not sent: {len(names)} files to me/reacher"
    assert (run / "round_002" / "policy" / "README.md").is_file()


def test_what_cannot_be_pushed_is_one_line(handeye, run, adapters, tmp_path):
    stood = tmp_path / "stood"
    stood.mkdir()
    (stood / "results.json").write_text(json.dumps(RESULTS | {"policy": "seed", "rounds": [{"accepted": False}]}))
    for arguments, words in (
        ((run, "me/reacher"), "no token for the hub; valid: first `hf auth login`, or the variable HF_TOKEN"),
        ((run, "reacher"), "repo = 'reacher'; valid: owner/model"),
        ((stood, "me/reacher"), "passed the gate: its policy is the seed"),
        ((tmp_path, "me/reacher"), "is no run with results and no checkpoint"),
        ((adapters, "me/reacher"), f"valid: handeye merge {adapters} OUT first"),
    ):
        status, _, error = handeye("push", *arguments)
        assert status == 2
        assert words in error
        assert error.count("\n") == 1


def test_adapters_over_a_model_of_a_hub_are_pushed_as_adapters(adapters):
    record = json.loads((adapters / folder.BASE).read_text())
    (adapters / folder.BASE).write_text(json.dumps(record | {"base": "owner/model-2B"}))
    front = Card.of(adapters).front_matter("me/reacher")
    assert front["base_model"] == "owner/model-2B"
    assert (front["base_model_relation"], front["library_name"]) == ("adapter", "peft")
