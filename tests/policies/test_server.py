"""A policy behind a server, over real HTTP: answers as in process, and what happens when a server fails."""

import asyncio
import base64
import io
import json
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agent.collect.play import play
from agent.config import Config
from envs.errors import UserError
from envs.registry import TASKS
from envs.validation import checked
from policies import prompt
from policies.action_codec import codec_for
from policies.backend import Request
from policies.backends import client as http
from policies.backends.address import ServerAddress, named, parse
from policies.backends.client import Client, ServerLostError
from policies.backends.server import ServerBackend
from policies.base import find_policy
from policies.mllm import MLLMPolicy
from policies.threads import one_thread

N = 64
TASK = TASKS["push"]
REGEX = "yes|no"
FRAME = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3)
ASKED = Request(FRAME, prompt.user("push the red cube"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(http, "FIRST_PAUSE_S", 0.01)


@pytest.fixture(scope="module")
def observations():
    env, result = TASK.make(), []
    for seed in range(N):
        env.reset(seed=seed)
        result.append(TASK.observe(env))
    env.close()
    return result


@pytest.fixture(scope="module")
def requests_(observations):
    return [Request(o.frames, prompt.act(o)) for o in observations]


@pytest.fixture(scope="module")
def codec():
    return codec_for(TASK)


@pytest.fixture(scope="module")
def remote(served):
    return ServerBackend.connect(parse(served))


# the same answers as in process ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("temperature", "n"), [(0, N), (1, 16)])
def test_all_answers_are_those_in_process(backend, remote, codec, requests_, temperature, n):
    with one_thread():
        expected = backend.generate(requests_[:n], codec.regex, temperature, range(n))
    assert remote.generate(requests_[:n], codec.regex, temperature, range(n)) == expected


def test_samples_are_those_of_their_seeds(backend, remote, codec, requests_):
    temperatures, seeds = [0.0, 0.7, 0.7, 0.7, 1.0], [[9, *range(i, i + 3), 5] for i in range(8)]
    with one_thread():
        expected = backend.prefill(requests_[:8]).generate(codec.regex, temperatures, seeds)
    assert remote.prefill(requests_[:8]).generate(codec.regex, temperatures, seeds) == expected
    assert len({answer for some in expected for answer in some[1:]}) > 8


@pytest.mark.parametrize("reason", ["", "move +1 -2; "])
def test_odds_are_those_in_process(backend, remote, requests_, reason):
    texts, others = ([f"{reason}{word}" for _ in range(16)] for word in ("yes", "no"))
    texts[3], others[3] = "push the red cube", "push the blue cube"
    with one_thread():
        expected = backend.prefill(requests_[:16]).odds(texts, others)
    np.testing.assert_allclose(remote.prefill(requests_[:16]).odds(texts, others), expected, atol=1e-4)


def test_longer_prompts_are_answered_as_in_process(backend, remote, codec, requests_):
    longer = [
        [prompt.user(f"{r.messages[0]['content'][-1]['text']}. move +{k} +0. good?") for k in range(i % 3)]
        for i, r in enumerate(requests_[:6])
    ]
    answers = []
    for one in (backend, remote):
        with one_thread():
            extended = one.prefill(requests_[:6]).extend(longer, last=True)
            answers.append(extended.generate(codec.action.regex, [0.0], [[0]] * 6))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 6


def test_a_policy_decides_as_in_process(backend, remote, codec, observations):
    """Proposals, verdicts and a revision."""
    decided = []
    for one in (backend, remote):
        policy = MLLMPolicy(one, codec, proposals=3, revisions=1, threshold=1.0)
        with one_thread():
            decided.append(policy.act(observations[:4], [np.random.default_rng(i) for i in range(4)]))
    for here, there in zip(*decided, strict=True):
        assert (there.answer, there.critique) == (here.answer, here.critique)
        assert there.verdict == pytest.approx(here.verdict, abs=1e-4)


@pytest.mark.slow
def test_episodes_are_those_in_process(served, nano_checkpoint):
    def answers(policy):
        played = play("reach", policy, [(2_000_000, 0)])
        return [step.decision.answer for e in played for step in e.steps]

    assert answers(served) == answers(str(nano_checkpoint))


# what is sent ------------------------------------------------------------------------------------------------------
class Recorder:
    """A server that keeps what it is sent, and answers `yes`, or by functions of the request and its number.

    reply: a body -> the answer to a chat completion, as JSON or as a Response. owner: what it calls itself.
    """

    def __init__(self, reply=None, owner="vllm", **routes):
        self.reply, self.bodies, self.headers, self.times = reply, [], [], []
        self.flying = self.most = 0

        async def chat(request):
            body = await request.json()
            self.bodies.append(body)
            self.headers.append(request.headers)
            self.times.append(time.monotonic())
            self.flying += 1
            self.most = max(self.most, self.flying)
            try:
                answer = self.reply(body, len(self.bodies)) if self.reply else completion(*["yes"] * body["n"])
                answer = await answer if asyncio.iscoroutine(answer) else answer
            finally:
                self.flying -= 1
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        async def models(request):
            self.headers.append(request.headers)
            return JSONResponse({"data": [{"id": "org/model", "owned_by": owner}]})

        self.app = Starlette(
            routes=[
                Route("/v1/models", models),
                Route("/v1/chat/completions", chat, methods=["POST"]),
                *(Route(f"/{path.replace('__', '/')}", route, methods=["POST"]) for path, route in routes.items()),
            ]
        )


def completion(*texts, reason="stop"):
    choices = [{"index": i, "message": {"content": t}, "finish_reason": reason} for i, t in enumerate(texts)]
    return {"choices": choices}


@pytest.fixture
def ask(listening):
    """Asks a recorder's server, by a function of the connected backend."""

    def run(recorder, question, **settings):
        with listening(recorder.app) as url:
            address = ServerAddress(f"{url}/v1", **({"patience_s": 5.0} | settings))
            return question(ServerBackend.connect(address))

    return run


def generate(backend, n=1):
    return backend.generate([ASKED] * n, REGEX, 0, range(n))


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


# servers that fail ---------------------------------------------------------------------------------------------------
def failing(times, response):
    """Fails the first `times` requests with a response, then answers."""
    return lambda body, number: response() if number <= times else completion("yes")


def cut():
    async def half():
        yield b'{"choices"'
        raise RuntimeError("cut")

    return StreamingResponse(half(), headers={"Content-Length": "100"}, media_type="application/json")


@pytest.mark.parametrize(
    "response",
    [
        lambda: Response("oops", 500),
        lambda: Response(status_code=503),
        lambda: JSONResponse({"error": {"message": "full"}}, 429),
        cut,
        lambda: asyncio.sleep(5, completion("no")),  # longer than the time limit
    ],
    ids=["500", "503", "429", "cut", "hang"],
)
def test_what_passes_is_tried_again(ask, response):
    recorder = Recorder(failing(2, response))
    assert ask(recorder, generate, timeout_s=0.25) == ["yes"]
    assert len(recorder.bodies) == 3


def test_a_server_says_when_to_come_back(ask):
    recorder = Recorder(failing(1, lambda: Response(status_code=429, headers={"Retry-After": "0.4"})))
    assert ask(recorder, generate) == ["yes"]
    first, second = recorder.times
    assert second - first >= 0.4
    patient = Recorder(failing(1, lambda: Response(status_code=429, headers={"Retry-After": "60"})))
    with pytest.raises(ServerLostError, match="tried 1 times; the last: HTTP 429"):
        ask(patient, generate)


def test_a_failure_that_stays_ends_and_keeps_what_was_answered(ask):
    """The same call again asks only for what had not been answered."""
    broken = [True]

    def reply(body, number):
        ill = "red" in body["messages"][0]["content"][-1]["text"] and broken[0]
        return Response("bug", 500) if ill else completion("yes")

    recorder = Recorder(reply)
    requests = [Request(FRAME, prompt.user(f"push the {color} cube")) for color in ("blue", "red", "green")]

    def twice(backend):
        with pytest.raises(ServerLostError, match="tried 5 times; the last: HTTP 500: bug"):
            backend.generate(requests, REGEX, 0, range(3))
        assert len(recorder.bodies) == 2 + 5
        broken[0] = False
        return backend.generate(requests, REGEX, 0, range(3))

    assert ask(recorder, twice) == ["yes"] * 3
    assert len(recorder.bodies) == 2 + 5 + 1


def test_a_server_that_restarts_is_waited_for(listening):
    recorder = Recorder()
    with listening(recorder.app) as url:
        backend = ServerBackend.connect(ServerAddress(f"{url}/v1", patience_s=20))
    answers = []
    asking = threading.Thread(target=lambda: answers.extend(generate(backend, 3)))
    asking.start()
    time.sleep(0.2)
    assert not answers
    with listening(recorder.app, int(url.rpartition(":")[2])):
        asking.join(20)
    assert answers == ["yes"] * 3


def test_a_server_that_is_not_there_is_one_line():
    started = time.monotonic()
    with pytest.raises(UserError, match=r"127.0.0.1:9/v1/models gave no answer.*ConnectError"):
        ServerBackend.connect(ServerAddress("http://127.0.0.1:9/v1", patience_s=0.1))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Response("<html>hello</html>"), "not JSON: '<html>hello"),
        ({"object": "list"}, "nonsense: choices: .*required"),
        ({"choices": []}, "0 choices; valid: 1"),
        (completion("yes", "no"), "2 choices; valid: 1"),
        ({"choices": [{"message": {"content": 3}}]}, r"nonsense: choices.0.message.content"),
        (["yes"], "nonsense: all of it"),
        (completion("maybe"), "answered 'maybe', which does not match 'yes|no': the server ignored structured_outputs"),
        (completion("y", reason="length"), "does not match .*: it was cut after 512 tokens"),
        ({"choices": [{"message": {"content": None}}]}, "answered '', which does not match"),
        (
            JSONResponse({"message": "unknown field regex"}, 400),
            "unknown field regex; .*structured_outputs",
        ),
        (Response(status_code=307, headers={"Location": "/"}), "HTTP 307; valid: 200"),
    ],
    ids=str,
)
def test_nonsense_is_one_line(ask, answer, message):
    with pytest.raises(UserError, match=message) as error:
        ask(Recorder(lambda body, number: answer), generate)
    assert not isinstance(error.value, ServerLostError)
    assert len(str(error.value)) < 900


# verdicts ------------------------------------------------------------------------------------------------------------
def logprobs(*pairs):
    top = [{"token": token, "logprob": p} for token, p in pairs]
    return {"choices": [{"message": {"content": ""}, "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}


def words_as_tokens(known):
    """The routes of a tokenizer whose tokens are words, numbered as in `known`."""

    async def tokenize(request):
        words = (await request.json())["prompt"].split()
        return JSONResponse({"tokens": [known.index(word) for word in words], "count": len(words)})

    async def detokenize(request):
        return JSONResponse({"prompt": " ".join(known[i] for i in (await request.json())["tokens"])})

    return {"tokenize": tokenize, "detokenize": detokenize}


def odds(backend):
    return backend.prefill([ASKED]).odds(["so; yes"], ["so; no"])[0]


def test_verdicts_are_asked_for_by_token_ids(ask):
    recorder = Recorder(
        lambda body, number: logprobs(("token_id:7", -0.1), ("token_id:1", -2.0), ("token_id:2", -3.0)),
        **words_as_tokens(["so;", "yes", "no"]),
    )
    assert ask(recorder, odds) == pytest.approx(1 / (1 + np.exp(-1)))
    (body,) = recorder.bodies
    assert body["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "so;"}]}
    expected = {
        "logprobs": True,
        "logprob_token_ids": [1, 2],
        "continue_final_message": True,
        "add_generation_prompt": False,
        "max_completion_tokens": 1,
        "return_tokens_as_token_ids": True,
    }
    assert body.items() >= expected.items()


@pytest.mark.parametrize(
    ("reply", "routes", "message"),
    [
        (
            logprobs(("yes", -1.0)),
            True,
            "does not say .*'token_id:1': .*logprob_token_ids.*odds=top_logprobs",
        ),
        (completion("yes"), True, "does not say the probability"),
        (logprobs(("token_id:1", float("-inf"))), True, "nonsense.*finite"),
        (
            completion("yes"),
            False,
            "tokenize refused .HTTP 404.*need /tokenize, .*odds=top_logprobs",
        ),
    ],
)
def test_a_server_without_token_ids_is_one_line(ask, reply, routes, message):
    text = json.dumps(reply)  # with -Infinity, as Python writes it
    recorder = Recorder(
        lambda body, number: Response(text, media_type="application/json"),
        **(words_as_tokens(["so;", "yes", "no"]) if routes else {}),
    )
    with pytest.raises(UserError, match=message):
        ask(recorder, odds)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (
            [(" yes", -1.0), (" no", -2.0), (" y", -3.0)],
            (np.exp(-1) + np.exp(-3)) / (np.exp(-1) + np.exp(-3) + np.exp(-2)),
        ),
        ([("No", -0.1), ("yes", -1.0), ("maybe", -4.0)], np.exp(-1) / (np.exp(-1) + np.exp(-4))),  # no: the least's
    ],
)
def test_verdicts_by_the_most_probable_tokens(ask, pairs, expected):
    recorder = Recorder(lambda body, number: logprobs(*pairs))
    assert ask(recorder, odds, odds="top_logprobs") == pytest.approx(expected)
    assert recorder.bodies[0]["top_logprobs"] == 20
    assert recorder.bodies[0]["messages"][-1]["content"][0]["text"] == "so;"


def test_verdicts_that_no_probable_token_begins_are_one_line(ask):
    with pytest.raises(UserError, match="neither 'yes' nor 'no' is among the 2 most probable tokens"):
        ask(Recorder(lambda body, number: logprobs(("maybe", -1.0), (" ", -2.0))), odds, odds="top_logprobs")


@pytest.mark.parametrize("way", ["token_ids", "top_logprobs"])
def test_texts_that_do_not_part_have_no_odds(ask, way):
    recorder = Recorder(**words_as_tokens(["so;", "yes", "no"]))
    with pytest.raises(UserError, match="'so; yes' and 'so; yes' do not part"):
        ask(recorder, lambda b: b.prefill([ASKED]).odds(["so; yes"], ["so; yes"]), odds=way)


# adapters, names -----------------------------------------------------------------------------------------------------
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
