"""A run whose policy acts behind `handeye serve`, a process of its own: as in process, also when the server dies."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent import loop
from agent.collect.streamed import Streamed
from agent.commands.served import check_served
from agent.config import Config
from agent.record.run.journal import FILE as JOURNAL
from agent.record.run.resume import decisive
from agent.serve.adapters import Adapters
from agent.serve.app import app
from agent.serve.limits import Limits
from envs.errors import UserError
from envs.registry import TASKS
from envs.validation import checked
from policies.backends.loading import load_backend, load_trainable
from policies.backends.server import client
from policies.backends.server.address import named
from policies.backends.settings import ModelSettings
from tests.reliability import tiny

ROOT = Path(__file__).resolve().parents[2]
LORA = {"lora": {"r": 4, "alpha": 8}}
# Files that say where the policy acts, or where the base of the adapters is.
OF_PLACES = ("config.yaml", "provenance.json", JOURNAL, "results.json", "adapter_base.json", "adapter_config.json")
SERVE = ("-P", "-c", "from agent.cli import main; main()", "serve", tiny.POLICY, "--adapters", ".", "--port", "0")


@contextlib.contextmanager
def serving(folder):
    """URL and process of `handeye serve` over the tiny policy in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *SERVE], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+/v1", process.stdout.readline())[0], process
    finally:
        process.kill()
        process.wait()


def run(folder, resume=False, **changes):
    """A tiny run in a folder; returns what it has in common with the same run elsewhere."""
    if not resume:
        tiny.prepare(folder, model=LORA, **changes)
    with contextlib.chdir(folder), tiny.cheap():
        results = tiny.go(resume)
    files = tiny.result(folder / tiny.RUN)
    same = {path: sha for path, sha in files.items() if path.split("/")[-1] not in OF_PLACES}
    return same, {key: results[key] for key in ("rounds", "heldout", "heldout_mean")}


@pytest.fixture
def accepting(monkeypatch):
    """The gate lets every candidate pass: the next round's incumbent has adapters, too."""
    passed = loop.gate
    monkeypatch.setattr(loop, "gate", lambda r, incumbent: passed(r, incumbent) | {"accepted": True})


@pytest.mark.slow
def test_a_run_behind_a_server_is_the_run_in_process(tmp_path, accepting, monkeypatch):
    """Greedy and sampled episodes, verdicts, trained adapters: bit for bit. A server that dies in practice costs what
    was in flight; the run goes on at another port."""
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.01)
    expected = run(tmp_path / "here")
    assert any("sft/adapter_model.safetensors" in path for path in expected[0])
    apart, killed = tmp_path / "apart", tmp_path / "killed"
    tiny.prepare(apart)
    with serving(apart) as (url, _):
        assert run(apart, policy=policy(url), workers=2) == expected
    tiny.prepare(killed)
    with serving(killed) as (url, process), monkeypatch.context() as patch:
        patch.setattr(Streamed, "on_episode", dying(process))
        with pytest.raises(UserError, match=r"server http\S+ gave no answer, tried \d+ times"):
            run(killed, policy=policy(url))
    with serving(killed) as (url, _):
        (killed / tiny.CONFIG).write_text(json.dumps(tiny.VALUES | {"model": LORA, "policy": policy(url)}))
        assert run(killed, resume=True) == expected


def policy(url):
    return {"server": url, "weights": tiny.POLICY, "patience_s": 0.5}


def dying(process, on_episode=Streamed.on_episode):
    """As `on_episode`; with the first episode of practice, the second of the run, the server is killed."""
    seen = []

    def then_dying(streamed, episode):
        on_episode(streamed, episode)
        seen.append(episode)
        if len(seen) == 2:
            process.kill()
            process.wait()

    return then_dying


# checks before a run ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shown():
    env = TASKS["reach"].make()
    env.reset(seed=0)
    yield [(TASKS["reach"], TASKS["reach"].observe(env))]
    env.close()


@pytest.fixture
def check(nano_checkpoint, listening, shown, tmp_path):
    """Checks a run over the embedded policy against a server that may load adapters from a folder."""

    def run(inside, model=LORA, weights=nano_checkpoint, **wanted):
        served = load_backend(nano_checkpoint)
        adapters = Adapters(served, "nano", nano_checkpoint, inside)
        with listening(app(served, served.processor.tokenizer, "nano", Limits(), adapters=adapters)) as url:
            policy = {"server": f"{url}/v1", "weights": str(weights), "patience_s": 1.0}
            config = checked(Config, {"policy": policy, "tasks": ["reach"], "model": model, "out": str(tmp_path / "r")})
            check_served(config, load_trainable(weights, config.model), shown)
        return adapters.names

    return run


def test_a_server_that_can_act_passes(check, tmp_path):
    assert check(tmp_path) == ("nano",)  # what was tried is unloaded
    assert list(tmp_path.iterdir()) == []


def test_servers_that_cannot_act_are_refused(check, tmp_path, llava_checkpoint):
    with pytest.raises(UserError, match=r"given adapters, not whole models; valid: a section model\.lora"):
        check(tmp_path, model={})
    with pytest.raises(UserError, match=r"serves 'nano' with weights of SHA-256 \w{12}, and '.*llava.*' has \w{12}"):
        check(tmp_path, weights=llava_checkpoint)
    with pytest.raises(UserError, match=r"was not loaded: .*this server loads no adapters.*--adapters"):
        check(None)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r"was not loaded: .*valid: a folder in"):
        check(tmp_path / "elsewhere")


def test_a_run_may_go_on_at_another_server_of_the_same_weights():
    def config(**address):
        return {"policy": named({"server": "http://a/v1", "weights": "w"} | address), "seed": 0}

    assert decisive(config()) == decisive(config(server="http://b:9/v1", concurrency=3, patience_s=1.0))
    assert decisive(config()) != decisive(config(weights="v"))
    assert decisive(config()) != decisive(config(odds="top_logprobs"))


def test_a_backend_behind_a_server_is_asked_as_its_weights_are(served, nano_checkpoint):
    from policies.backends.opening import open_backend
    from policies.backends.server.address import parse

    address = parse(f"{served}?weights={nano_checkpoint}")
    here, there = load_backend(nano_checkpoint), open_backend(address, ModelSettings(examples=1))
    assert (there.template.is_embedded, there.template.system) == (here.template.is_embedded, here.template.system)
    assert there.settings == ModelSettings(examples=1)
    assert np.array_equal(there.digits, here.digits)
