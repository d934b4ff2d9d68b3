"""A small real server, which keeps what it is sent and answers as a test wants it to."""

import asyncio
import time

import numpy as np
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from policies import prompt
from policies.backend import Request

REGEX = "yes|no"
FRAME = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3)
ASKED = Request(FRAME, prompt.user("push the red cube"))


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


def generate(backend, n=1):
    return backend.generate([ASKED] * n, REGEX, 0, range(n))
