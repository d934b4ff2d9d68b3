"""What a server is sent, and how it is named."""

import asyncio
import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from recorder import ASKED, FRAME, REGEX, Recorder, completion, generate
from starlette.responses import JSONResponse, Response

from agent.config import Config
from envs.errors import UserError
from envs.validation import checked
from policies import prompt
from policies.backend import Request
from policies.backends.server.address import ServerAddress, named, parse
from policies.backends.server.client import Client
from policies.base import find_policy


def test_frames_travel_without_loss_and_messages_as_they_are(ask):
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 8, 3), dtype=np.uint8)
    messages = [*prompt.user("first", 2), *prompt.assistant("so"), *prompt.user("then", 0)]
    recorder = Recorder()
    assert ask(recorder, lambda b: b.generate([Request(frames, messages)], REGEX, 0, [0])) == ["yes"]
    (body,) = recorder.bodies
    sent = body["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user"]
    assert [part["type"] for part in sent[0]["content"]] == ["image_url", "image_url", "text"]
    for frame, part in zip(frames, sent[0]["content"], strict=False):
        kind, data = part["image_url"]["url"].split(",")
        assert kind == "data:image/png;base64"
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(data)))), frame)
    assert sent[2] == {"role": "user", "content": [{"type": "text", "text": "then"}]}
    assert body["structured_outputs"]["regex"] == body["regex"]
    for answer in ("yes", " no", " \nyes"):  # a template may put white space before an answer
        assert re.fullmatch(body["regex"], answer)
    assert (body["top_p"], body["repetition_penalty"]) == (1.0, 1.0)  # not the model's own defaults


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("vllm", [(0.0, 1, 0), (0.7, 2, 11), (0.7, 1, 20), (1.0, 1, 21)]),
        ("sglang", [(0.0, 1, 0), (0.7, 1, 11), (0.7, 1, 12), (0.7, 1, 20), (1.0, 1, 21)]),
    ],
)
def test_samples_share_requests_where_the_server_counts_seeds(ask, owner, expected):
    recorder = Recorder(owner=owner)
    temperatures, seeds = [0.0, 0.7, 0.7, 0.7, 1.0, 0.0], [10, 11, 12, 20, 21, 99]
    ask(recorder, lambda b: b.prefill([ASKED]).generate(REGEX, temperatures, [seeds]))
    assert sorted((b["temperature"], b["n"], b["seed"]) for b in recorder.bodies) == sorted(expected)


def test_requests_at_a_time_are_bounded(ask):
    async def slowly(body, number):
        await asyncio.sleep(0.05)
        return completion("yes")

    recorder = Recorder(slowly)
    requests = [Request(FRAME, prompt.user(f"push {i}")) for i in range(12)]
    assert ask(recorder, lambda b: b.generate(requests, REGEX, 0, range(12)), concurrency=3) == ["yes"] * 12
    assert recorder.most == 3


def test_the_key_is_sent_and_never_shown(ask, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sesame-1234")
    recorder = Recorder(lambda body, number: JSONResponse({"error": {"message": "no"}}, 401))
    with pytest.raises(UserError, match=r"HTTP 401.*: no$") as error:
        ask(recorder, generate, key_env="MY_KEY")
    assert {headers["authorization"] for headers in recorder.headers} == {"Bearer sesame-1234"}
    assert "sesame" not in str(error.value)
    monkeypatch.setenv("MY_KEY", "two words\n")
    with pytest.raises(UserError, match="variable MY_KEY holds no API key") as error:
        Client(ServerAddress("http://127.0.0.1:1/v1", key_env="MY_KEY"))
    assert "words" not in str(error.value)
    with pytest.raises(UserError, match="variable NO_SUCH_KEY holds no API key"):
        Client(ServerAddress("http://127.0.0.1:1/v1", key_env="NO_SUCH_KEY"))


# adapters and names ------------------------------------------------------------------------------------------------
def test_an_adapter_is_loaded_by_its_path(ask):
    loaded = []

    async def load(request):
        loaded.append(await request.json())
        return Response("Success: LoRA adapter 'round_002' added successfully.")

    recorder = Recorder(v1__load_lora_adapter=load)
    ask(recorder, generate, adapter="/runs/round_002")
    assert loaded == [{"lora_name": "round_002", "lora_path": "/runs/round_002", "load_inplace": True}]
    assert recorder.bodies[0]["model"] == "round_002"
    with pytest.raises(UserError, match=r"'/runs/round_002' was not loaded: .*VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        ask(Recorder(), generate, adapter="/runs/round_002")


def test_the_model_is_the_only_one_or_a_named_one(ask):
    recorder = Recorder()
    assert ask(recorder, lambda b: b.model) == "org/model"
    assert ask(recorder, lambda b: b.model, model="org/model") == "org/model"
    with pytest.raises(UserError, match=r"unknown model of http.* 'org/modle' .did you mean 'org/model'"):
        ask(recorder, lambda b: b.model, model="org/modle")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "https://host/v1?concurrency=8&odds=top_logprobs#org/model",
        "http://[::1]:8000/v1?patience_s=1.5&key_env=MY_KEY",
    ],
)
def test_an_address_is_one_url(url):
    address = parse(url)
    assert parse(str(address)) == address
    assert sorted(re.split("[?&#]", str(address))) == sorted(re.split("[?&#]", url))
    assert parse("http://127.0.0.1:8000") == parse("http://127.0.0.1:8000/v1/")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://", "no URL of a server; valid: http://HOST:PORT/v1"),
        ("http://host:port/v1", "no URL of a server"),
        ("http://host/v1?concurency=3", "'concurency' .did you mean 'concurrency'"),
        ("http://host/v1?concurrency=0", "'concurrency' = '?0"),
        ("http://host/v1?timeout_s=nan", "'timeout_s'"),
        ("http://host/v1?odds=good", "'odds' = 'good'"),
        ("http://me:secret@host/v1", "credentials in the URL of 'host'"),
        ("http://me:secret#1@host/v1", "'http://...@host/v1' is no URL of a server"),
    ],
)
def test_bad_addresses_are_one_line(url, message):
    with pytest.raises(UserError, match=message) as error:
        parse(url)
    assert "secret" not in str(error.value)


def test_a_config_names_a_server_by_a_section():
    policy = {"server": "http://127.0.0.1:8000/v1", "model": "org/model", "concurrency": 8}
    config = checked(Config, {"policy": policy, "tasks": ["reach"]})
    assert parse(config.policy) == replace(parse("http://127.0.0.1:8000/v1#org/model"), concurrency=8)
    assert named("seed") == "seed"
    with pytest.raises(UserError, match="'sever'"):
        named({"sever": "http://127.0.0.1:8000/v1"})
    with pytest.raises(UserError, match="is a server, which can be played, not trained"):
        find_policy(config.policy)
