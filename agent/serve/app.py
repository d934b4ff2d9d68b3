"""`handeye serve`: a policy's backend over HTTP, in the protocol of vLLM's OpenAI-compatible server.

It batches what waits at the same time (`batching`), refuses what is malformed or too large (`protocol`, `limits`), and
says when it is full. What it says in log-probabilities is normalised over the two tokens that were asked for.
"""

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent.serve.adapters import Adapters
from agent.serve.batching import ABOUT_THE_REQUEST, Batcher, Change, Tokenizer
from agent.serve.limits import Limits
from agent.serve.protocol import (
    Answers,
    DetokenizeBody,
    LoadBody,
    Odds,
    RefusedError,
    TokenizeBody,
    UnloadBody,
    asked,
    checked,
    named,
)
from policies.backends.huggingface import HFBackend
from policies.backends.image_size import resolve_image_size

RETRY_AFTER_S = 1  # told to a client that is refused because the server is full
READERS = 3  # threads that decode requests; with anyio's 40, glibc keeps as many heaps, each of its own size
DISCARD_S = 5.0  # in which a refused client must have sent its body
CLOSED = 499  # nginx's status of a client that went away; nobody reads it
TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}

Handler = Callable[[Request], Awaitable[Response]]


def app(
    backend: HFBackend,
    tokenizer: Any,
    name: str,
    limits: Limits,
    token: str | None = None,
    threads: int = 1,
    adapters: Adapters | None = None,
) -> Starlette:
    """The application. name: the model's. token: what a client must send as its API key. threads: of torch. adapters:
    over the model, where there may be others than its own."""
    service = Service(backend, Tokenizer(tokenizer), name, limits, token, threads, adapters)
    routes = [
        Route("/health", service.health),
        Route("/v1/models", service.guarded(service.models)),
        Route("/v1/chat/completions", service.guarded(service.chat), methods=["POST"]),
        Route("/tokenize", service.guarded(service.tokenize), methods=["POST"]),
        Route("/detokenize", service.guarded(service.detokenize), methods=["POST"]),
        Route("/v1/load_lora_adapter", service.guarded(service.load_adapter), methods=["POST"]),
        Route("/v1/unload_lora_adapter", service.guarded(service.unload_adapter), methods=["POST"]),
    ]
    handlers = {HTTPException: _unknown_route, 500: _failed}
    return Starlette(routes=routes, lifespan=service.lifespan, exception_handlers=handlers)


class Service:
    """What the routes share: the model's thread, and how many requests are accepted and not yet answered."""

    def __init__(
        self,
        backend: HFBackend,
        tokenizer: Tokenizer,
        name: str,
        limits: Limits,
        token: str | None,
        threads: int,
        adapters: Adapters | None,
    ):
        self.backend, self.tokenizer, self.name, self.limits = backend, tokenizer, name, limits
        self.token, self.threads, self.adapters, self.accepted = token, threads, adapters, 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models that answer, the policy first."""
        return self.adapters.names if self.adapters else (self.name,)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = READERS
        act_as = self.adapters.act_as if self.adapters else lambda _: self.backend
        self.batcher = Batcher(act_as, self.tokenizer, self.limits.batch, self.threads)
        try:
            yield
        finally:
            await run_in_threadpool(self.batcher.close)

    def guarded(self, handler: Handler) -> Handler:
        """The handler with what all routes need: the API key, the place in the queue, the time limit, and errors in
        OpenAI's form."""

        async def handle(request: Request) -> Response:
            if self.token is not None and not _authorised(request, self.token):
                await _discarded(request.stream(), self.limits)
                return _error("no valid API key; valid: Authorization: Bearer KEY", 401, {"WWW-Authenticate": "Bearer"})
            if self.accepted >= self.limits.waiting:
                message = f"{self.accepted} requests wait already; valid: to come back later"
                await _discarded(request.stream(), self.limits)
                return _error(message, 429, {"Retry-After": str(RETRY_AFTER_S)})
            self.accepted += 1
            try:
                async with asyncio.timeout(self.limits.time_s):
                    return await handler(request)
            except TimeoutError:
                return _error(f"no answer in {self.limits.time_s:g} s; valid: less, or later", 504, CLOSE)
            except ClientDisconnect:
                return Response(status_code=CLOSED)
            except RefusedError as error:
                return _error(str(error), error.status, CLOSE if error.status == 413 else {})
            except ABOUT_THE_REQUEST as error:
                return _error(str(error), 400)
            except Exception as error:  # of the backend: a bug, or memory; logged where it was raised
                return _error(f"the model failed: {type(error).__name__}", 500)
            finally:
                self.accepted -= 1

        return handle

    async def health(self, request: Request) -> Response:
        alive = self.batcher.is_alive()
        state = {"waiting": self.accepted, "queued": self.batcher.queued}  # accepted; of these, not yet with the model
        return JSONResponse({"status": "ok" if alive else "failed", **state}, 200 if alive else 503)

    async def models(self, request: Request) -> Response:
        template, settings = self.backend.template, self.backend.settings
        asked = {
            "is_embedded": template.is_embedded,
            "system": template.system,
            "dialect": settings.dialect,
            "examples": settings.examples,
            "image_size": resolve_image_size(settings.image_size, self.backend.processor),
        }
        card = {"object": "model", "created": 0, "owned_by": "handeye", **asked}
        if self.adapters is None:
            return JSONResponse({"object": "list", "data": [{"id": self.name, **card}]})
        hashes = {"weights_sha256": self.adapters.weights_sha256, "base_sha256": self.adapters.base_sha256}
        loaded = [
            {"id": name, "parent": self.name, "root": str(path), **card} for name, path in self.adapters.paths.items()
        ]
        return JSONResponse({"object": "list", "data": [{"id": self.name, **card, **hashes}, *loaded]})

    async def load_adapter(self, request: Request) -> Response:
        body = checked(LoadBody, await self._body(request))
        await self._change(lambda adapters: adapters.load(body.lora_name, body.lora_path, body.load_inplace))
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    async def unload_adapter(self, request: Request) -> Response:
        body = checked(UnloadBody, await self._body(request))
        await self._change(lambda adapters: adapters.unload(body.lora_name))
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")

    async def _change(self, change: Callable[[Adapters], None]) -> None:
        """Change the adapters, once the requests before are answered."""
        if self.adapters is None:
            raise RefusedError("this server loads no adapters", 404)
        adapters = self.adapters
        await asyncio.wrap_future(self.batcher.submit(Change(lambda: change(adapters))))

    async def tokenize(self, request: Request) -> Response:
        body = checked(TokenizeBody, await self._body(request))
        named(body.model, self.names)
        if len(body.prompt) > self.limits.text:
            raise RefusedError(f"prompt of {len(body.prompt)} characters; valid: at most {self.limits.text}", 413)
        ids = await run_in_threadpool(self.tokenizer.encode, body.prompt)
        return JSONResponse({"tokens": ids, "count": len(ids)})

    async def detokenize(self, request: Request) -> Response:
        body = checked(DetokenizeBody, await self._body(request))
        named(body.model, self.names)
        return JSONResponse({"prompt": await run_in_threadpool(self.tokenizer.decode, body.tokens)})

    async def chat(self, request: Request) -> Response:
        body = await self._body(request)
        wanted = await run_in_threadpool(asked, body, self.names, self.limits)
        tokens = await run_in_threadpool(self.tokenizer.encode, wanted.text)
        if len(tokens) > self.limits.tokens:
            raise RefusedError(f"messages of {len(tokens)} tokens; valid: at most {self.limits.tokens}", 413)
        del body  # base64 of images, while the request waits
        answer = asyncio.wrap_future(self.batcher.submit(wanted))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            return JSONResponse(self._completion(wanted, answer.result()))
        finally:
            answer.cancel()  # where nobody waits for it any more
            gone.cancel()

    def _completion(self, wanted: Answers | Odds, answer: Any) -> dict[str, Any]:
        if isinstance(wanted, Odds):
            choices = [self._verdict(wanted, answer)]
        else:
            choices = [self._choice(i, text, wanted) for i, text in enumerate(answer)]
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": wanted.model,
            "choices": choices,
        }

    def _choice(self, index: int, text: str, wanted: Answers) -> dict[str, Any]:
        """An answer, cut where it is longer than was asked for."""
        reason = "stop"
        ids = self.tokenizer.encode(text)
        if wanted.max_tokens is not None and len(ids) > wanted.max_tokens:
            text, reason = self.tokenizer.decode(ids[: wanted.max_tokens]), "length"
        message = {"role": "assistant", "content": text}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}

    def _verdict(self, wanted: Odds, logprobs: tuple[float, float]) -> dict[str, Any]:
        """The more probable of the two tokens, and both log-probabilities."""
        names = [f"token_id:{token}" for token in wanted.pair]
        top = [{"token": name, "logprob": p, "bytes": None} for name, p in zip(names, logprobs, strict=True)]
        best = max(range(2), key=lambda i: logprobs[i])
        message = {"role": "assistant", "content": self.tokenizer.decode([wanted.pair[best]])}
        content = [{**top[best], "top_logprobs": top}]
        return {"index": 0, "message": message, "logprobs": {"content": content}, "finish_reason": "length"}

    async def _body(self, request: Request) -> Any:
        """The JSON of a body. Raises RefusedError for another content type, more bytes than the limit, and what is not
        JSON."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # which also keeps out a browser's page from elsewhere
            await _discarded(request.stream(), self.limits)
            raise RefusedError(f"Content-Type {kind[:50]!r}; valid: application/json", 415)
        most, body, chunks = self.limits.body_bytes, bytearray(), request.stream()
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                body.clear()
                await _discarded(chunks, self.limits)
                raise RefusedError(f"a body of more than {most} bytes; valid: at most {most}", 413)
        try:
            return await run_in_threadpool(json.loads, bytes(body))
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"the body is not JSON: {type(error).__name__}: {error}") from None


CLOSE = {"Connection": "close"}  # what the client still sends is not read


def _authorised(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "").encode("latin-1", "replace")
    return hmac.compare_digest(given, f"Bearer {token}".encode())


async def _discarded(chunks: AsyncIterator[bytes], limits: Limits) -> None:
    """Reads what a client still sends, within limits: a connection that is closed before loses the answer, too."""
    left = limits.body_bytes
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(min(DISCARD_S, limits.time_s)):
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    return


async def _gone(request: Request) -> None:
    """Returns when the client disconnects. The body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error(message: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": " ".join(message.split())[:500], "type": kind, "param": None, "code": status}
    return JSONResponse({"error": error}, status, headers)


async def _unknown_route(request: Request, error: HTTPException) -> Response:
    posted = ("/v1/chat/completions", "/tokenize", "/detokenize", "/v1/load_lora_adapter", "/v1/unload_lora_adapter")
    routes = ", ".join(("GET /health", "GET /v1/models", *(f"POST {path}" for path in posted)))
    return _error(f"{error.detail}: {request.method} {request.url.path[:100]}; valid: {routes}", error.status_code)


async def _failed(request: Request, error: Exception) -> Response:
    return _error(f"the server failed: {type(error).__name__}", 500)
