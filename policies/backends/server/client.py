"""JSON over HTTP to a model server: bounded concurrency, retries with back-off, and errors that say what went wrong.

httpx retries connections alone; what a server does under load (429, 503, a restart) is met here.
"""

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import httpx

from envs.errors import UserError
from policies.backends.server.address import ServerAddress, is_loopback

AWAY = (429, 502, 503, 504)  # full, starting, or gone behind a proxy: tried again as long as the address says
FAILED = (408, 500)  # tried until FAILURES of them: the request itself may be the cause
FAILURES = 5
LACKS = (400, 404, 405, 422, 501)  # statuses of what a server does not know
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 20.0
KEY_ENV = "HANDEYE_API_KEY"  # read where the address names no variable
SHOWN = 300  # characters of a server's message


class ServerLostError(UserError):
    """The server was full, away or failing for too long. The same call may succeed later: answers that had arrived are
    kept, and only those that had not are asked for again."""


class RefusedError(UserError):
    """The server does not do what was asked. lacks: it may not know the feature; otherwise it wants a key, or less.
    is_unknown: what was asked for is not there, such as a model."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.lacks, self.is_unknown = status in LACKS, status == 404


class Client:
    """Requests to one server. Thread-safe."""

    def __init__(self, address: ServerAddress):
        """Raises UserError where the environment has no API key, but the address names one."""
        self.address = address
        self._http = httpx.Client(
            headers=_authorization(address.key_env),
            timeout=httpx.Timeout(address.timeout_s, connect=min(10.0, address.timeout_s)),
            limits=httpx.Limits(max_connections=address.concurrency, max_keepalive_connections=address.concurrency),
            trust_env=not is_loopback(urlsplit(address.server).hostname),  # a cluster's proxy does not lead back here
        )
        self._pool = ThreadPoolExecutor(address.concurrency, thread_name_prefix="server")
        self._closed = threading.Event()
        self._kept: dict[bytes, Any] = {}  # answers of a call that failed as a whole, by the hash of what was asked

    def close(self) -> None:
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def get(self, url: str, patience_s: float) -> Any:
        """The JSON there. Raises as `post_all`."""
        return _json(self._ask("GET", url, None, patience_s))

    def post(self, url: str, body: Mapping[str, Any]) -> str:
        """The text that answers one body. Raises as `post_all`."""
        return self._ask("POST", url, json.dumps(body).encode()).text

    def post_all(self, url: str, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The JSON that answers each body. Equal bodies are asked once.

        Raises ServerLostError where the server does not answer, RefusedError where it does not want to (4xx), UserError
        for an answer that is not JSON.
        """
        texts = [json.dumps(body).encode() for body in bodies]
        keys = [hashlib.sha256(url.encode() + text).digest() for text in texts]
        asked = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._kept}
        futures = {self._pool.submit(self._post, url, text): key for key, text in asked.items()}
        try:
            _, rest = wait(futures, return_when=FIRST_EXCEPTION)
            for future in rest:
                future.cancel()
            wait(futures)
        except BaseException:  # an interrupt: threads that wait to try again would keep the process alive
            self.close()
            raise
        for future, key in futures.items():
            if not future.cancelled() and future.exception() is None:
                self._kept[key] = future.result()
        for future in futures:
            if not future.cancelled():
                future.result()  # raises what it raised
        answers = [self._kept[key] for key in keys]
        self._kept.clear()
        return answers

    def _post(self, url: str, text: bytes) -> Any:
        return _json(self._ask("POST", url, text))

    def _ask(self, method: str, url: str, text: bytes | None, patience_s: float | None = None) -> httpx.Response:
        patience_s = self.address.patience_s if patience_s is None else patience_s
        headers = {"Content-Type": "application/json"} if text else {}
        failures, since = 0, None
        for tries in count():
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries, 10)) * random.uniform(0.5, 1)
            try:
                response = self._http.request(method, url, content=text, headers=headers)
            except httpx.TransportError as error:
                away = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code not in (*AWAY, *FAILED):
                    return _accepted(response)
                problem, away = f"HTTP {response.status_code}: {_message(response)}", response.status_code in AWAY
                pause += _retry_after(response)
            failures += not away
            since = since or time.monotonic()
            if self._closed.is_set() or failures == FAILURES or pause > since + patience_s - time.monotonic():
                raise ServerLostError(f"server {url} gave no answer, tried {tries + 1} times; the last: {problem}")
            self._closed.wait(pause)


def _authorization(key_env: str | None) -> dict[str, str]:
    """The header with the API key. No error repeats the key."""
    key = os.environ.get(key_env or KEY_ENV)
    if key is None and key_env is None:
        return {}
    if not key or not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"environment variable {key_env or KEY_ENV} holds no API key; valid: one, without spaces")
    return {"Authorization": f"Bearer {key}"}


def _accepted(response: httpx.Response) -> httpx.Response:
    status, url = response.status_code, response.url
    if 400 <= status < 500 or status in LACKS:
        raise RefusedError(f"server {url} refused (HTTP {status}): {_message(response)}", status)
    if not 200 <= status < 300:
        raise UserError(f"server {url} answered HTTP {status}; valid: 200; is this the API's URL?")
    return response


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise UserError(f"server {response.url} answered with what is not JSON: {response.text[:SHOWN]!r}") from error


def _message(response: httpx.Response) -> str:
    """A server's own words, of an error in OpenAI's form, or the beginning of whatever else it said."""
    with suppress(ValueError, TypeError, AttributeError):
        body = response.json()
        message = body.get("message") or body["error"] if "error" not in body else body["error"]
        return str(message["message"] if isinstance(message, dict) else message)[:SHOWN]
    return response.text[:SHOWN]


def _retry_after(response: httpx.Response) -> float:
    """Seconds of a Retry-After header, which holds a number or a date; 0 without."""
    value = response.headers.get("Retry-After", "")
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return 0.0
