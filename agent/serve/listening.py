"""The socket and the process of `handeye serve`: where it listens, who may ask, and how it stops."""

import os
import signal
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType

from agent.serve.limits import Limits
from envs.errors import UserError
from policies.backends.server.address import is_loopback
from policies.backends.settings import ModelSettings

CONNECTIONS = 1024  # open at a time, idle ones included
KEEP_ALIVE_S = 30
LEAST_TOKEN = 16  # characters


def checked_token(host: str, token_env: str | None) -> str | None:
    """The token that clients must send, from the environment. Raises UserError where the host needs one, or the
    variable holds none that can be sent."""
    if token_env is None:
        if not is_loopback(host):
            raise UserError(f"host {host!r} is open to others; valid: 127.0.0.1, or --token-env NAME")
        return None
    token = os.environ.get(token_env, "")
    if len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError(
            f"environment variable {token_env} holds no token; valid: at least {LEAST_TOKEN} characters, without spaces"
        )
    return token


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises UserError where that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen at {host}, port {port}: {error}; valid: a free one, or --port 0") from error


def serve(
    checkpoint: Path,
    settings: ModelSettings,
    listening: socket.socket,
    limits: Limits,
    token: str | None,
    threads: int,
    inside: Path | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight. inside: the folder from which adapters may be
    loaded. Raises UserError for a checkpoint that does not
    load, and where the extra `serve` is not installed."""
    try:
        import uvicorn  # the extra `serve`

        from agent.serve.adapters import Adapters
        from agent.serve.app import app
    except ImportError as error:
        raise UserError(f"{error}; valid: pip install 'handeye[serve]'") from error
    from policies.backends.loading import load_backend

    backend = load_backend(checkpoint, settings)
    positions = getattr(backend.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    limits = replace(limits, tokens=min(limits.tokens, positions or limits.tokens))
    name = checkpoint.resolve().name
    adapters = Adapters(backend, name, checkpoint, inside, limits.adapters)
    application = app(backend, backend.processor.tokenizer, name, limits, token, threads, adapters)
    config = uvicorn.Config(
        application,
        log_level="error",
        access_log=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(limits.time_s) + 1,
        http="h11",
        ws="none",
        lifespan="on",
        server_header=False,
    )
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"serving {name} at http://{shown}:{port}/v1 (stop: Ctrl-C)", flush=True)
    with ExitStack() as restored:
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn stops at them, and then hands them on
            restored.callback(signal.signal, number, signal.signal(number, _stopped))
        uvicorn.Server(config).run(sockets=[listening])
    print("stopped", flush=True)


def _stopped(number: int, frame: FrameType | None) -> None:
    """What follows a graceful stop: nothing."""
