"""Where a model server is and how it is asked, as one URL that stands wherever a policy's name does.

    http://HOST:PORT/v1?KEY=VALUE&KEY=VALUE#MODEL

The keys are the fields of `ServerAddress`. Nothing here imports torch or an HTTP client.
"""

import ipaddress
import re
from dataclasses import fields
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import Field
from pydantic.dataclasses import dataclass

from envs.errors import UserError
from envs.validation import STRICT, Count, checked

FORM = "http://HOST:PORT/v1 or http://HOST:PORT/v1#MODEL"
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class ServerAddress:
    """An OpenAI-compatible server.

    server: its URL, as far as `/v1`. model: a model's name there; None: the only one. key_env: the environment variable
    that holds the API key, where the server wants one. concurrency: requests at a time, of each worker. timeout_s: of
    one request. patience_s: how long a request is tried again while the server is full or away. adapter: a folder with
    a LoRA adapter, as the server sees it, loaded first. weights: the model's own weights here, a folder or hub id, for
    training it.
    odds: how a verdict is read. token_ids: the log-probabilities of two tokens by their ids (vLLM 0.33, handeye serve).
    top_logprobs: the 20 most probable tokens, by their text (SGLang and others); a text that begins with none of these
    counts with the probability of the last of them.
    """

    server: str
    model: str | None = None
    key_env: str | None = None
    concurrency: Count = 64
    timeout_s: Annotated[Seconds, Field(gt=0)] = 120.0
    patience_s: Seconds = 300.0
    adapter: str | None = None
    weights: str | None = None
    odds: Literal["token_ids", "top_logprobs"] = "token_ids"

    @property
    def root(self) -> str:
        """The server's URL without `/v1`, where vLLM has what OpenAI has not."""
        return self.server.removesuffix("/v1")

    def __str__(self) -> str:
        """The URL that `parse` makes this address of."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("server", "model")}
        changed = {f.name: values[f.name] for f in fields(self) if f.name in values and values[f.name] != f.default}
        query = f"?{urlencode(changed)}" if changed else ""
        return self.server + query + (f"#{quote(self.model, safe='/:@')}" if self.model else "")


def is_server(policy: str) -> bool:
    """Whether a policy's name is the URL of a server."""
    return policy.startswith(("http://", "https://"))


def parse(url: str) -> ServerAddress:
    """The address that a URL says. Raises UserError for what is none, and for a key or value that is not valid."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is no number, and of brackets that do not close
        known = False
    if not known:
        shown = re.sub("//.*@", "//...@", url)  # what is before @ may be a secret
        raise UserError(f"{shown!r} is no URL of a server; valid: {FORM}")
    if parts.username is not None:  # not repeated: it is a secret
        raise UserError(f"credentials in the URL of {parts.hostname!r}; valid: the key in a variable, named by key_env")
    values: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    values |= {"model": unquote(parts.fragment)} if parts.fragment else {}
    return checked(
        ServerAddress, values | {"server": f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"}
    )


def without_place(url: str) -> str:
    """A server's URL without where it is and how fast it is asked, on which its answers do not depend."""
    address = parse(url)
    return str(ServerAddress("http://server/v1", address.model, weights=address.weights, odds=address.odds))


def named(policy: Any) -> Any:
    """A config's `policy`: a section with `server` becomes the URL that says the same; a name stays as it is."""
    if not isinstance(policy, dict):
        return policy
    given = checked(ServerAddress, policy)
    if urlsplit(given.server).query or urlsplit(given.server).fragment:
        bare = re.split("[?#]", given.server)[0]  # what follows may be a secret
        raise UserError(f"server = {bare!r} and more; valid: the URL alone, and model and the others as keys beside it")
    return str(parse(str(given)))


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False
