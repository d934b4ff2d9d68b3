"""`handeye serve` over real HTTP: what it refuses, who may ask, what it does when it is full, and how it stops."""

import asyncio
import re
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from overload import MALFORMED, REGEX, body, encoded, message, overload, picture, serving

from agent.cli import parse
from agent.serve.app import app
from agent.serve.limits import Limits
from envs.errors import UserError

JSON = {"Content-Type": "application/json"}
TOKEN = "a-token-of-some-length"


def chat(url, what, headers=None, timeout=20.0):
    url = f"{url.removesuffix('/v1')}/v1/chat/completions"
    return httpx.post(url, content=encoded(what), headers=JSON | (headers or {}), timeout=timeout)


def said(response):
    assert response.status_code == 200, response.text
    return [choice["message"]["content"] for choice in response.json()["choices"]]


def refusal(response, status):
    """The message of an error in OpenAI's form."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert "\n" not in error["message"]
    assert "Traceback" not in response.text
    return error["message"]


# the real model -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_refused(served, name):
    what, status = MALFORMED[name]
    assert refusal(chat(served, what), status)


def test_after_malformed_requests_others_are_answered(served):
    expected = said(chat(served, body()))
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda case: chat(served, case[0]).status_code, MALFORMED.values()))
        answers = list(pool.map(lambda _: said(chat(served, body())), range(16)))
    assert statuses == [status for _, status in MALFORMED.values()]
    assert answers == [expected] * 16
    assert re.fullmatch(REGEX, expected[0])


def test_samples_are_numbered_and_seeded(served):
    three = chat(served, body(n=3, temperature=1.5, seed=7)).json()
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    texts = [choice["message"]["content"] for choice in three["choices"]]
    assert said(chat(served, body(n=2, temperature=1.5, seed=8))) == texts[1:]
    assert {choice["finish_reason"] for choice in three["choices"]} == {"stop"}
    assert len({*said(chat(served, body(n=16, temperature=2.0)))}) > 1  # without a seed


def test_an_answer_is_cut_where_it_is_longer_than_was_asked(served):
    (whole,) = said(chat(served, body()))
    (choice,) = chat(served, body(max_completion_tokens=2)).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert whole.startswith(choice["message"]["content"].strip())
    assert len(choice["message"]["content"]) < len(whole)


def test_without_a_regex_anything_may_be_answered(served):
    (text,) = said(chat(served, body(structured_outputs=None, max_completion_tokens=3)))
    assert isinstance(text, str)


def test_tokens_of_a_text_and_back(served, backend):
    root = served.removesuffix("/v1")
    text = "reach the red cube; yes"
    tokens = httpx.post(f"{root}/tokenize", json={"prompt": text, "add_special_tokens": False}).json()
    assert tokens["tokens"] == backend.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokens["count"] == len(tokens["tokens"])
    assert httpx.post(f"{root}/detokenize", json={"tokens": tokens["tokens"]}).json() == {"prompt": text}
    assert "below" in refusal(httpx.post(f"{root}/detokenize", json={"tokens": [10**6]}), 400)
    assert "16384" in refusal(httpx.post(f"{root}/tokenize", json={"prompt": "a" * 20_000}), 413)


def test_what_is_served_and_what_is_not(served):
    (model,) = httpx.get(f"{served}/models").json()["data"]
    assert (model["id"], model["owned_by"]) == ("nano", "handeye")
    assert httpx.get(served.replace("/v1", "/health")).json()["status"] == "ok"
    assert "POST /v1/chat/completions" in refusal(httpx.get(f"{served}/nothing"), 404)
    assert refusal(httpx.get(f"{served}/chat/completions"), 405)
    plain = {"Content-Type": "text/plain"}  # what a browser sends from another site without asking
    assert "application/json" in refusal(chat(served, body(), plain), 415)


# a model of our own: when it is asked, and for how long it thinks -----------------------------------------------------
class Slow:
    """Answers `yes` once `go` is set, and raises for what a message says. Keeps how many requests shared each call."""

    def __init__(self):
        self.go, self.calls = threading.Event(), []

    def prefill(self, requests):
        self.calls.append(len(requests))
        assert self.go.wait(10)
        for request in requests:
            text = request.messages[-1]["content"][-1]["text"]
            if "bad" in text:
                raise ValueError("a bad prompt")
            if "bug" in text:
                raise KeyError("secret detail")
        return self

    def generate(self, regex, temperatures, seeds):
        return [["yes"] * len(temperatures) for _ in seeds]

    def odds(self, texts, others):
        return np.array([1.0 for _ in texts])


@pytest.fixture
def slow():
    model = Slow()
    yield model
    model.go.set()


@pytest.fixture
def start(listening, slow, backend):
    """Serves the slow model with some limits, while a block runs."""

    def run(token=None, **limits):
        return listening(app(slow, backend.processor.tokenizer, "slow", Limits(**limits), token))

    return run


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def waiting(url, which="waiting"):
    return httpx.get(f"{url}/health").json()[which]


@pytest.mark.parametrize("given", [None, "Bearer", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}", "Bearer \xe9"])
def test_a_token_is_needed(start, slow, given):
    slow.go.set()
    with start(TOKEN) as url:
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        for response in (chat(url, body(), headers), httpx.get(f"{url}/v1/models", headers=headers)):
            assert TOKEN not in refusal(response, 401)
        assert httpx.get(f"{url}/health").status_code == 200
        assert said(chat(url, body(), {"Authorization": f"Bearer {TOKEN}"})) == ["yes"]


def test_a_body_is_bounded_before_it_is_read_whole(start, slow):
    slow.go.set()
    with start(body_bytes=10_000) as url:
        assert "at most 10000" in refusal(chat(url, b"x" * 20_000), 413)
        long = (b"x" * 1000 for _ in range(20))
        assert refusal(httpx.post(f"{url}/v1/chat/completions", content=long, headers=JSON), 413)  # of unknown length
        assert said(chat(url, body(messages=message("text alone, in a string")))) == ["yes"]


def test_pictures_are_bounded_together(start, slow):
    slow.go.set()
    two = message([{"type": "image_url", "image_url": {"url": picture()}}] * 2 + [{"type": "text", "text": "a"}])
    with start(pixels=64 * 64 * 2) as url:
        assert said(chat(url, body(messages=two))) == ["yes"]
    with start(pixels=64 * 64 * 2 - 1) as url:
        assert "images of 8192 pixels" in refusal(chat(url, body(messages=two)), 413)


def test_those_who_wait_together_share_a_call(start, slow):
    with start(batch=8) as url, ThreadPoolExecutor(12) as pool:
        first = pool.submit(chat, url, body("first"))
        until(lambda: slow.calls)
        rest = [pool.submit(chat, url, body(f"number {i}")) for i in range(9)]
        other = pool.submit(chat, url, body("other", structured_outputs={"regex": "yes"}))
        until(lambda: waiting(url, "queued") == 10)
        slow.go.set()
        assert [said(one.result()) for one in (first, *rest, other)] == [["yes"]] * 11
    assert sorted(slow.calls) == [1, 1, 1, 8]


def test_a_bad_prompt_fails_alone(start, slow):
    with start() as url, ThreadPoolExecutor(4) as pool:
        first = pool.submit(chat, url, body("first"))
        until(lambda: slow.calls)
        good, bad, bug = (pool.submit(chat, url, body(text)) for text in ("good", "bad", "bug"))
        until(lambda: waiting(url, "queued") == 3)
        slow.go.set()
        assert said(first.result()) == said(good.result()) == ["yes"]
        assert refusal(bad.result(), 400) == "a bad prompt"
        assert refusal(bug.result(), 500) == "the model failed: KeyError"


def test_a_bad_prompt_costs_no_call_for_each_beside_it(start, slow):
    with start() as url, ThreadPoolExecutor(33) as pool:
        first = pool.submit(chat, url, body("first"))
        until(lambda: slow.calls)
        rest = [pool.submit(chat, url, body("bad" if i == 5 else "good")) for i in range(32)]
        until(lambda: waiting(url, "queued") == 32)
        slow.go.set()
        assert Counter(one.result().status_code for one in (first, *rest)) == {200: 32, 400: 1}
    assert len(slow.calls) == 1 + 1 + 2 * 5  # of 32, then twice a half, down to the bad one


def test_a_full_server_says_when_to_come_back(start, slow):
    with start(waiting=3) as url, ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(chat, url, body(str(i))) for i in range(3)]
        until(lambda: waiting(url) == 3)
        refused = chat(url, body())
        assert "3 requests wait already" in refusal(refused, 429)
        assert int(refused.headers["Retry-After"]) >= 1
        slow.go.set()
        assert [said(one.result()) for one in accepted] == [["yes"]] * 3
        assert said(chat(url, body())) == ["yes"]


def test_a_request_has_a_time_limit(start, slow):
    with start(time_s=0.2) as url:
        assert "no answer in 0.2 s" in refusal(chat(url, body()), 504)
        assert waiting(url) == 0
        half = (b"{" if i == 0 else time.sleep(0.5) or b"}" for i in range(2))  # a body that does not come
        assert refusal(httpx.post(f"{url}/v1/chat/completions", content=half, headers=JSON), 504)
        slow.go.set()


def test_who_goes_away_costs_nothing(start, slow):
    with start() as url, ThreadPoolExecutor(1) as pool:
        first = pool.submit(chat, url, body("first"))
        until(lambda: slow.calls)
        with pytest.raises(httpx.ReadTimeout):
            chat(url, body("gone"), timeout=0.2)
        until(lambda: waiting(url) == 1)
        slow.go.set()
        assert said(first.result()) == said(chat(url, body("last"))) == ["yes"]
    assert slow.calls == [1, 1]


def test_certain_odds_are_numbers(start, slow):
    """JSON has no infinity."""
    slow.go.set()
    with start() as url:
        asked = {
            "structured_outputs": None,
            "max_completion_tokens": 1,
            "logprobs": True,
            "logprob_token_ids": [20, 21],
        }
        (choice,) = chat(url, body(**asked)).json()["choices"]
        top = {one["token"]: one["logprob"] for one in choice["logprobs"]["content"][0]["top_logprobs"]}
    assert top == {"token_id:20": 0.0, "token_id:21": -9999.0}


# the command ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["seed", "--host", "0.0.0.0"], "host '0.0.0.0' is open to others; valid: 127.0.0.1, or --token-env NAME"),
        (["seed", "--host", "::"], "host '::' is open to others"),
        (["seed", "--host", "0.0.0.0", "--token-env", "NO_TOKEN"], "variable NO_TOKEN holds no token; .*16 characters"),
        (["seed", "--token-env", "SHORT"], "variable SHORT holds no token"),
        (["seed", "--port", "-1"], "port = -1"),
        (["seed", "--port", "70000"], "cannot listen at 127.0.0.1, port 70000"),
        (["seed", "--waiting", "0"], "waiting = 0"),
        (["seed", "--time-s", "0"], "time_s = 0"),
        (["nowhere"], "no checkpoint in 'nowhere'"),
        (["http://127.0.0.1:8000/v1"], "is a server, which can be played"),
    ],
    ids=str,
)
def test_bad_arguments_are_one_line(monkeypatch, arguments, error):
    monkeypatch.setenv("SHORT", "short")
    with pytest.raises(UserError, match=error) as raised:
        parse(["serve", *arguments]).run()
    assert "short" not in str(raised.value)


def test_a_port_in_use_is_one_line(served):
    port = re.search(r":(\d+)/", served)[1]
    with pytest.raises(UserError, match=f"cannot listen at 127.0.0.1, port {port}: .*in use"):
        parse(["serve", "seed", "--port", port]).run()


@pytest.mark.slow
def test_a_stop_waits_for_what_is_in_flight(nano_checkpoint):
    async def run():
        async with serving(str(nano_checkpoint)) as (url, process), httpx.AsyncClient(timeout=60) as client:
            asked = body(n=4, temperature=1.0, structured_outputs={"regex": "(red |blue ){16}"})
            posts = (client.post(f"{url}/v1/chat/completions", json=asked | {"seed": i}) for i in range(3))
            asking = [asyncio.create_task(post) for post in posts]
            while (await client.get(f"{url}/health")).json()["waiting"] < 3:
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            responses = await asyncio.gather(*asking)
            assert await asyncio.to_thread(process.wait, 30) == 0
            return responses, process.stdout.read()

    responses, output = asyncio.run(run())
    assert [len(said(response)) for response in responses] == [4] * 3
    assert output == "stopped\n"


@pytest.mark.slow
def test_twice_its_capacity_for_some_seconds(nano_checkpoint):
    """`python tests/serve/overload.py --seconds 600` does so for longer."""
    result = asyncio.run(overload(str(nano_checkpoint), 4.0, 2.0, waiting=24))
    assert result["ok"], result
    assert result["statuses"]["200"] > 0
    assert result["statuses"]["429"] > 0
    assert result["exit"] == 0
