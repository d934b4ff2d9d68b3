"""LoRA adapters behind `handeye serve`: loaded by path, named by requests, kept apart, and bounded."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch

from agent.serve.adapters import Adapters
from agent.serve.app import app
from agent.serve.limits import Limits
from envs.errors import UserError
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backends.adapters import lora
from policies.backends.adapters.folder import BASE
from policies.backends.adapters.weights import weights_sha256
from policies.backends.loading import load_backend, load_trainable
from policies.backends.opening import open_backend
from policies.backends.server.adapters import KEPT, LoadedAdapters, acting, adapter_name, check_weights
from policies.backends.server.address import parse
from policies.backends.server.backend import ServerBackend
from policies.backends.settings import Lora, ModelSettings
from policies.dialect import TERSE

SETTINGS = ModelSettings(lora=Lora(r=4, alpha=8))
MOST = 4  # adapters that the server of these tests loads at a time


@pytest.fixture(scope="module")
def folder(nano_checkpoint, tmp_path_factory):
    """A folder with adapters `0` to `4`, each with other random weights."""
    inside = tmp_path_factory.mktemp("adapters")
    for number in range(MOST + 1):
        backend = load_trainable(nano_checkpoint, SETTINGS, seed=number)
        torch.manual_seed(number)
        for name, parameter in backend.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        backend.save(inside / str(number))
    return inside


@pytest.fixture
def url(nano_checkpoint, folder, listening):
    backend = load_backend(nano_checkpoint)
    adapters = Adapters(backend, "nano", nano_checkpoint, folder, MOST)
    with listening(app(backend, backend.processor.tokenizer, "nano", Limits(), adapters=adapters)) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="module")
def requests():
    env = TASKS["reach"].make()
    requests = []
    for seed in range(8):
        env.reset(seed=seed)
        observation = TASKS["reach"].observe(env)
        requests.append(Request(observation.frames, TERSE.act(observation)))
    env.close()
    return requests


def answers(backend, requests):
    """Greedy and sampled answers, and verdicts."""
    prefilled = backend.prefill(requests)
    texts = prefilled.generate(codec_for(TASKS["reach"]).regex, [0.0, 1.0, 1.0], [range(i, i + 3) for i in range(8)])
    odds = backend.prefill(requests).odds(["move +1 +1"] * 8, ["move +2 +1"] * 8)
    return texts, np.round(odds, backend.digits).tolist()


def player(url, weights, checkpoint):
    return acting(replace(parse(url), patience_s=5.0), weights, checkpoint)


def test_each_adapter_answers_as_in_process(url, nano_checkpoint, folder, requests):
    """Also when requests for all of them wait together, and after some were unloaded."""
    policies = [nano_checkpoint, *(folder / str(i) for i in range(MOST))]
    expected = [answers(load_backend(policy), requests) for policy in policies]
    assert len({str(each) for each in expected}) == len(policies)
    clients = [open_backend(player(url, nano_checkpoint, policy)) for policy in policies]
    with ThreadPoolExecutor(len(clients)) as pool:
        assert list(pool.map(lambda client: answers(client, requests), clients)) == expected
    loaded = LoadedAdapters()
    for policy in policies:
        loaded.use(player(url, nano_checkpoint, policy))
    assert len(names(url)) == 1 + KEPT
    assert answers(clients[0], requests) == expected[0]
    assert answers(clients[1], requests) == expected[1]  # unloaded, and loaded again when it is asked
    loaded.close()
    assert answers(clients[0], requests) == expected[0]
    assert names(url) == ["nano", clients[1].model]


def test_adapters_are_there_while_they_are_loaded_again(url, nano_checkpoint, folder, requests):
    """As when two workers begin at the same time."""
    client = open_backend(player(url, nano_checkpoint, folder / "0"))
    expected, body = answers(client, requests), {"lora_name": client.model, "lora_path": str(folder / "0")}
    with ThreadPoolExecutor(2) as pool:
        again = pool.submit(lambda: [load(url, **body, load_inplace=True).status_code for _ in range(5)])
        client.load_adapter = None  # which would cure an answer that there is no such model
        while not again.done():
            assert answers(client, requests) == expected
    assert again.result() == [200] * 5


def names(url):
    return [model["id"] for model in httpx.get(f"{url}/models").json()["data"]]


def test_a_policy_of_adapters_keeps_its_own(nano_checkpoint, folder, listening, requests):
    backend = load_backend(folder / "0")
    adapters = Adapters(backend, "0", folder / "0", folder, MOST)
    with listening(app(backend, backend.processor.tokenizer, "0", Limits(), adapters=adapters)) as root:
        own = ServerBackend.connect(parse(f"{root}/v1"))
        other = open_backend(player(f"{root}/v1", nano_checkpoint, folder / "1"))
        assert answers(other, requests) == answers(load_backend(folder / "1"), requests)
        assert answers(own, requests) == answers(load_backend(folder / "0"), requests)
        LoadedAdapters().use(other.address)
        other.client.post(f"{root}/v1/unload_lora_adapter", {"lora_name": other.model})
        assert answers(own, requests) == answers(load_backend(folder / "0"), requests)
        assert check_weights(own.card, root, folder / "1")  # of the same base
        with pytest.raises(UserError, match="serves '0' with weights of SHA-256"):
            check_weights(own.card, root, nano_checkpoint)


def load(url, **body):
    return httpx.post(f"{url}/load_lora_adapter", json=body)


def refusal(response, status=400):
    assert response.status_code == status, response.text
    return response.json()["error"]["message"]


def test_what_may_not_be_loaded(url, folder, tmp_path):
    for path in (str(tmp_path), str(folder / ".." / tmp_path.name), "0", "/"):
        assert f"valid: a folder in {str(folder)!r}" in refusal(load(url, lora_name="a", lora_path=path))
    (folder / "link").symlink_to(tmp_path)
    assert "valid: a folder in" in refusal(load(url, lora_name="a", lora_path=str(folder / "link")))
    assert "no adapters" in refusal(load(url, lora_name="a", lora_path=str(folder / "nothing")))
    for name in ("nano", "a.b", "", "a" * 101):
        assert "lora_name" in refusal(load(url, lora_name=name, lora_path=str(folder / "0")))
    assert "lora_path" in refusal(load(url, lora_name="a"))
    for number in range(MOST):
        assert load(url, lora_name=f"a{number}", lora_path=str(folder / str(number))).status_code == 200
    assert "are loaded" in refusal(load(url, lora_name="a0", lora_path=str(folder / "0")))
    assert load(url, lora_name="a0", lora_path=str(folder / "1"), load_inplace=True).status_code == 200
    assert "unload one of a0, a1, a2, a3" in refusal(load(url, lora_name="a4", lora_path=str(folder / "4")))
    assert "no model 'b'" in refusal(httpx.post(f"{url}/unload_lora_adapter", json={"lora_name": "b"}), 404)


@pytest.mark.parametrize("fault", ["base", "tensor", "shape"])
def test_adapters_that_do_not_fit_leave_the_model_as_it_was(url, nano_checkpoint, folder, requests, fault):
    broken = folder / fault
    shutil.copytree(folder / "0", broken)
    if fault == "base":
        record = json.loads((broken / BASE).read_text()) | {"weights_sha256": "0" * 64}
        (broken / BASE).write_text(json.dumps(record))
    else:
        damage(broken / "adapter_model.safetensors", fault)
    said = {"base": "of a base of SHA-256 000000000000", "tensor": "not finite", "shape": "does not load"}[fault]
    base = ServerBackend.connect(parse(url))
    for _ in range(2):  # over the bare model, then beside others
        assert said in refusal(load(url, lora_name="bad", lora_path=str(broken)))
        assert answers(base, requests) == answers(load_backend(nano_checkpoint), requests)
        good = open_backend(player(url, nano_checkpoint, folder / "0"))
        assert answers(good, requests) == answers(load_backend(folder / "0"), requests)
    assert names(url) == ["nano", good.model]


def damage(path, fault):
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name] = tensors[name] * float("nan") if fault == "tensor" else tensors[name][:, :-1].contiguous()
    save_file(tensors, path, {"format": "pt"})


def test_without_a_folder_nothing_is_loaded(served, folder):
    assert "loads no adapters" in refusal(load(served, lora_name="a", lora_path=str(folder / "0")), 404)


def test_the_server_says_whose_weights_it_has(url, nano_checkpoint, folder):
    card = ServerBackend.connect(parse(url)).card
    assert card.weights_sha256 == card.base_sha256 == weights_sha256(nano_checkpoint)
    assert check_weights(card, url, nano_checkpoint)
    assert check_weights(card, url, folder / "0")
    assert not check_weights(replace(card, weights_sha256=None), url, nano_checkpoint)  # as of vLLM


def test_a_name_says_the_content(folder, nano_checkpoint, tmp_path):
    shutil.copytree(folder / "0", tmp_path / "copy")
    first, copy, other = (
        adapter_name(player("http://a/v1", nano_checkpoint, path))
        for path in (folder / "0", tmp_path / "copy", folder / "1")
    )
    assert first == copy != other


def test_adapters_come_off_the_model(nano_checkpoint, folder, requests):
    backend = load_backend(nano_checkpoint)
    expected = answers(backend, requests)
    model = lora.load_beside(backend.model, folder / "0", "one")
    assert answers(backend, requests) != expected
    lora.remove(model, "one")
    assert answers(backend, requests) == expected
