"""Servers that fail: what is tried again, what is kept, and what ends in one line."""

import asyncio
import threading
import time

import pytest
from recorder import FRAME, REGEX, Recorder, completion, generate
from starlette.responses import JSONResponse, Response, StreamingResponse

from envs.errors import UserError
from policies import prompt
from policies.backend import Request
from policies.backends.server.address import ServerAddress
from policies.backends.server.backend import ServerBackend
from policies.backends.server.client import ServerLostError


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
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_nonsense_is_one_line(ask, answer, message):
    with pytest.raises(UserError, match=message) as error:
        ask(Recorder(lambda body, number: answer), generate)
    assert not isinstance(error.value, ServerLostError)
    assert len(str(error.value)) < 900
