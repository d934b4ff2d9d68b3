"""`handeye serve`: a policy over HTTP."""

from dataclasses import dataclass, field
from pathlib import Path

from envs.errors import UserError
from policies.backends.settings import ModelSettings


@dataclass(frozen=True)
class Serve:
    """A policy over HTTP, as an OpenAI-compatible server: `--policy http://127.0.0.1:8000/v1` plays it elsewhere.

    Stops at SIGTERM or Ctrl-C, after the requests in flight.
    """

    policy: str  # a checkpoint folder, or seed
    host: str = "127.0.0.1"
    """the address to listen at; any other than this machine's own needs token_env"""
    port: int = 8000  # 0: a free one
    token_env: str | None = None
    """the environment variable that holds the token; clients send it as their API key (HANDEYE_API_KEY)"""
    batch: int = 64  # most answers in one call of the model
    waiting: int = 128  # requests accepted and not yet answered; beyond these, clients are told to come back (429)
    time_s: float = 120.0  # limit of one request
    body_mb: float = 8.0  # limit of a request's body
    images: int = 16  # most images of a request
    pixels: int = 2_097_152  # of all images of a request together
    adapters: str | None = None  # folder from which clients may have LoRA adapters loaded; None: they may load none
    threads: int = 1
    """of torch; answers are bit-equal to those of `handeye eval` with 1"""
    model: ModelSettings = field(default_factory=ModelSettings)  # how the checkpoint is loaded

    def run(self) -> None:
        """Raises UserError for a value that cannot work, a policy without a checkpoint, and an address in use."""
        from agent.commands.arguments import at_least
        from agent.serve.limits import Limits
        from agent.serve.listening import bound, checked_token, serve
        from policies.base import find_policy

        at_least(1, batch=self.batch, waiting=self.waiting, threads=self.threads, pixels=self.pixels)
        at_least(0, images=self.images, port=self.port)
        at_least(0.001, time_s=self.time_s, body_mb=self.body_mb)
        token = checked_token(self.host, self.token_env)
        limits = Limits(
            body_bytes=int(self.body_mb * 2**20),
            images=self.images,
            pixels=self.pixels,
            waiting=self.waiting,
            batch=self.batch,
            time_s=self.time_s,
        )
        inside = None if self.adapters is None else Path(self.adapters)
        if inside and not inside.is_dir():
            raise UserError(f"adapters = {self.adapters!r} is no folder; valid: one, such as a run's")
        path = find_policy(self.policy)
        with bound(self.host, self.port) as listening:
            serve(path, self.model, listening, limits, token, self.threads, inside)
